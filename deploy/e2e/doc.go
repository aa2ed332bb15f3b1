// Package e2e proves FrameDB on a real Kubernetes: lab/ starts one on this
// machine, run.sh runs the tests in it. It is a module of its own, so that
// nobody who imports FrameDB inherits Kubernetes' server.
package e2e
