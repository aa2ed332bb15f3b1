// Package reststore keeps objects through the REST API of an agent: a hop more
// than the databases themselves, for where those cannot be reached or no
// password can be had.
package reststore
