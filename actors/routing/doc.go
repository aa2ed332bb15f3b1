// Package routing tells writers of changed mappings by Redis pub/sub, in the
// messages that existing writers know. Pub/sub keeps nothing: whoever does not
// listen at the moment misses a message. Here is seen to it that each message
// is sent, in order for each source, for as long as the agent lives; after a
// failover, a restart or a loss of history the present entries are sent anew.
package routing
