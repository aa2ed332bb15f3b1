// Package client is how a Go program uses FrameDB.
//
// [Client] is the control plane: clusters, FrameDB IDs, source mappings, nodes
// and the stream of their changes, over any agent's v1 API. [FrameDB] is the
// data path: it resolves a source to its Redis master and then reads, writes
// and counts down frames there directly. [Open] makes both:
//
//	db, err := client.Open(ctx, client.Config{})
//
// # Agents
//
// Any agent answers for all of FrameDB. A client that is given one address that
// lives finds the others and the leader, goes through the agent of its own
// machine where there is one, and through another when that fails: dead and
// frozen agents cost a call a second at most. It reads what it has written,
// whichever agent answers; watches go on elsewhere where they were.
//
// # Errors
//
// Every error that an agent answered is a *wire.Error with the agent's code;
// compare with errors.Is(err, wire.ErrNotFound). Besides the ones that a
// method documents, any call may return:
//
//   - ErrUnavailable: no agent could be reached, or it is still starting;
//     nothing was changed.
//   - ErrNoLeader: there was no Raft leader for as long as Config.RetryFor;
//     nothing was changed.
//   - ErrOutcomeUnknown: a change was sent and no answer came back. Repeat it
//     under the same ID (see [WithRequestID]) or look before doing it again.
//   - ErrOverloaded: the agents asked for patience for longer than RetryFor.
//   - ErrTimeout, which wraps context.DeadlineExceeded: ctx's deadline passed;
//     a change that was being made may have happened.
//
// See DESIGN.md for what is retried and why that is safe.
package client
