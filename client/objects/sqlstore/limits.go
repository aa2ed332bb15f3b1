package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"strconv"

	"github.com/framedb/framedb/client/wire"
)

// Limits are the sizes that a server allows and what follows from them, in
// bytes.
type Limits struct {
	// Engine is what the server calls itself, such as "5.7.25-TiDB-v8.5.0".
	Engine string
	// Packet is max_allowed_packet; Entry and Txn are TiDB's bounds of one row
	// and of one transaction, 0 where there are none.
	Packet, Entry, Txn int64

	// Row is the largest object that is one row of data_table.
	Row int
	// Chunk is the size of the parts of a larger one, Batch that of the parts
	// of one transaction.
	Chunk, Batch int
}

// The layout's own bounds, and what is kept free beside the bytes of a row for
// its other columns and its encoding.
const (
	maxRow   = 6<<20 - rowSpare
	maxChunk = 1 << 20
	maxBatch = 8 << 20
	rowSpare = 4 << 10

	minPacket = 64 << 10 // with less no useful part fits
)

// derive fills what follows. TiDB's defaults: a row of 6 MiB, a transaction of
// 100 MiB, packets of 64 MiB. The row limit is the same everywhere else, too,
// so that the layout does not depend on where an object was written.
func (l *Limits) derive() {
	row := int64(maxRow)
	// The answer to a read is one packet, and the driver sends a large
	// parameter in packets of its own: a quarter is far from both edges.
	chunk := min(maxChunk, l.Packet/4)
	row = min(row, l.Packet/2)
	if l.Entry > 0 {
		row = min(row, l.Entry-rowSpare)
		chunk = min(chunk, l.Entry-rowSpare)
	}
	batch := int64(maxBatch)
	if l.Txn > 0 {
		row = min(row, l.Txn/2)
		chunk = min(chunk, l.Txn/4)
		batch = min(batch, l.Txn/2)
	}
	l.Row, l.Chunk = int(row), int(chunk)
	l.Batch = int(max(batch/chunk, 1) * chunk)
}

// tidbConfig is the part of TiDB's variable tidb_config that bounds sizes.
type tidbConfig struct {
	Performance struct {
		Entry int64 `json:"txn-entry-size-limit"`
		Txn   int64 `json:"txn-total-size-limit"`
	} `json:"performance"`
}

const limitsQuery = "SHOW VARIABLES WHERE Variable_name IN" +
	" ('version', 'max_allowed_packet', 'tidb_config', 'tidb_txn_entry_size_limit')"

func readLimits(ctx context.Context, db *sql.DB) (Limits, error) {
	rows, err := db.QueryContext(ctx, limitsQuery)
	if err != nil {
		return Limits{}, err
	}
	defer rows.Close()
	vars := map[string]string{}
	for rows.Next() {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			return Limits{}, err
		}
		vars[name] = value
	}
	if err := rows.Err(); err != nil {
		return Limits{}, err
	}
	return limitsOf(vars)
}

func limitsOf(vars map[string]string) (Limits, error) {
	l := Limits{Engine: vars["version"]}
	l.Packet, _ = strconv.ParseInt(vars["max_allowed_packet"], 10, 64)
	if text, ok := vars["tidb_config"]; ok {
		var cfg tidbConfig
		if json.Unmarshal([]byte(text), &cfg) == nil {
			l.Entry, l.Txn = cfg.Performance.Entry, cfg.Performance.Txn
		}
	}
	if n, err := strconv.ParseInt(vars["tidb_txn_entry_size_limit"], 10, 64); err == nil && n > 0 {
		l.Entry = n // 0 leaves it to the configuration
	}
	if l.Packet < minPacket || l.Entry > 0 && l.Entry < minPacket || l.Txn > 0 && l.Txn < minPacket {
		return l, wire.Errorf(wire.CodeConflict,
			"the server's limits are too low for objects: packet %d, row %d, transaction %d, at least %d is needed", l.Packet, l.Entry, l.Txn, minPacket)
	}
	l.derive()
	return l, nil
}
