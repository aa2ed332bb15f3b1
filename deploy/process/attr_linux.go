package process

import "syscall"

// processAttr makes a process the leader of its own session: no terminal and
// no signal to our process group ends it.
func processAttr(dieWithParent bool) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setsid: true}
	if dieWithParent {
		attr.Pdeathsig = syscall.SIGKILL
	}
	return attr
}

// machineMemory is the memory of this machine in bytes, 0 when unknown.
func machineMemory() int64 {
	var info syscall.Sysinfo_t
	if err := syscall.Sysinfo(&info); err != nil {
		return 0
	}
	return int64(info.Totalram) * int64(info.Unit)
}
