package raftstore

import (
	"time"

	"github.com/hashicorp/raft"
)

// hooks let tests come between a Store and the network and clock around it.
// What is nil does nothing.
type hooks struct {
	// transport takes the place of Raft's.
	transport func(*raft.NetworkTransport) raft.Transport
	// call makes a call of the leader, or loses it, or makes it twice.
	call func(method string, reply any, call func(reply any) error) error
	// now is the clock that commands carry.
	now func() time.Time
}

func (h *hooks) fill() {
	if h.transport == nil {
		h.transport = func(t *raft.NetworkTransport) raft.Transport { return t }
	}
	if h.call == nil {
		h.call = func(_ string, reply any, call func(reply any) error) error { return call(reply) }
	}
	if h.now == nil {
		h.now = time.Now
	}
}
