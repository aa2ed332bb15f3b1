// Package sqlstore keeps objects in a database that speaks MySQL's protocol:
// TiDB, or MariaDB and MySQL for development. It is the only place that knows
// SQL. The layout and the reasons are in DESIGN.md of the folder above.
package sqlstore
