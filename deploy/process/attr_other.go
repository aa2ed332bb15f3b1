//go:build !linux

package process

import "syscall"

// New refuses to work here; the program still builds, for its other parts.

func processAttr(bool) *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

func machineMemory() int64 { return 0 }
