// Package cli is the framedb command line for people. It speaks to an agent
// through the Go client like any other program and has no knowledge of its
// own: what a command does is one or two calls of package client.
package cli
