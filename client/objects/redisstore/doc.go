// Package redisstore keeps objects in an in-memory FrameDB: in its Redis
// master. The layout and the reasons are in DESIGN.md of the folder above.
package redisstore
