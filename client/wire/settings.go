package wire

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// RedisSettings are parameters of redis.conf, each with its value as Redis
// takes it ("64mb", "yes").
type RedisSettings map[string]string

// parameter is what Redis takes for one parameter.
type parameter struct {
	kind     parameterKind
	min, max int64    // of a number or a size
	words    []string // of a word
}

type parameterKind int

const (
	kindNumber parameterKind = iota
	kindSize                 // bytes, with Redis' units behind them
	kindBool
	kindWord
	kindEvents // letters of notify-keyspace-events
)

// parameters are all that may be set: those that Redis changes while it runs,
// that are nobody's secret, and that FrameDB does not need for itself. The
// ranges are those of config.c of Redis 7, narrower where an end of one stands
// for unlimited memory or would keep frames out; a test asks a real Redis.
var parameters = map[string]parameter{
	"active-expire-effort":        number(1, 10),
	"activerehashing":             {kind: kindBool},
	"appendfsync":                 word("always", "everysec", "no"),
	"auto-aof-rewrite-min-size":   size(0, 1<<50),
	"auto-aof-rewrite-percentage": number(0, math.MaxInt32),
	"busy-reply-threshold":        number(0, 1<<50),
	"client-query-buffer-limit":   size(2*MaxFrame, 1<<50),
	"dynamic-hz":                  {kind: kindBool},
	"hz":                          number(1, 500),
	"latency-monitor-threshold":   number(0, 1<<50),
	"latency-tracking":            {kind: kindBool},
	"lazyfree-lazy-eviction":      {kind: kindBool},
	"lazyfree-lazy-expire":        {kind: kindBool},
	"lazyfree-lazy-server-del":    {kind: kindBool},
	"lazyfree-lazy-user-del":      {kind: kindBool},
	"lfu-decay-time":              number(0, math.MaxInt32),
	"lfu-log-factor":              number(0, math.MaxInt32),
	"loglevel":                    word("debug", "verbose", "notice", "warning"),
	"maxclients":                  number(100, 1_000_000),
	"maxmemory-eviction-tenacity": number(0, 100),
	"maxmemory-samples":           number(1, 64),
	"min-replicas-max-lag":        number(0, math.MaxInt32),
	"min-replicas-to-write":       number(0, MaxReplicas-1),
	"no-appendfsync-on-rewrite":   {kind: kindBool},
	"notify-keyspace-events":      {kind: kindEvents},
	"proto-max-bulk-len":          size(2*MaxFrame, 1<<50),
	"rdbcompression":              {kind: kindBool},
	"repl-backlog-ttl":            number(0, math.MaxInt32),
	"repl-disable-tcp-nodelay":    {kind: kindBool},
	"repl-ping-replica-period":    number(1, math.MaxInt32),
	"repl-timeout":                number(1, math.MaxInt32),
	"replica-lazy-flush":          {kind: kindBool},
	"slowlog-log-slower-than":     number(-1, 1<<50),
	"slowlog-max-len":             number(0, 1_000_000),
	"tcp-keepalive":               number(0, math.MaxInt32),
	"timeout":                     number(0, math.MaxInt32),
	"tracking-table-max-keys":     number(0, 1<<50),
}

func number(least, most int64) parameter {
	return parameter{kind: kindNumber, min: least, max: most}
}
func size(least, most int64) parameter { return parameter{kind: kindSize, min: least, max: most} }
func word(words ...string) parameter   { return parameter{kind: kindWord, words: words} }

// ownFields are the parameters that have a field of ClusterSpec each.
var ownFields = map[string]string{"maxmemory": "max_memory", "maxmemory-policy": "max_memory_policy", "appendonly": "backup"}

// SettableParameters are the names that RedisSettings may have, in order.
func SettableParameters() []string { return slices.Sorted(maps.Keys(parameters)) }

// Validate returns an ErrInvalidArgument that names the first parameter, in
// alphabetical order, that may not be set, or not to this value: Field is
// settings.<parameter>.
func (s RedisSettings) Validate() error {
	for _, name := range slices.Sorted(maps.Keys(s)) {
		if _, err := canonical(name, s[name]); err != nil {
			return InField("settings."+name, err)
		}
	}
	return nil
}

// SameSetting reports whether two values of a parameter mean the same to Redis,
// as 64mb and 67108864 do. Values that it would refuse are the same only if
// they are equal.
func SameSetting(name, a, b string) bool {
	x, errA := canonical(name, a)
	y, errB := canonical(name, b)
	return a == b || errA == nil && errB == nil && x == y
}

// RedisUpdate is the change of a cluster that parameters of redis.conf ask for:
// maxmemory, maxmemory-policy and appendonly have fields of their own.
//
// Errors: ErrInvalidArgument with the parameter as its Field. The policy, and
// the bounds of maxmemory, are for ClusterSpec.Validate to check.
func RedisUpdate(s RedisSettings) (UpdateCluster, error) {
	var u UpdateCluster
	for _, name := range slices.Sorted(maps.Keys(s)) {
		value := s[name]
		var err error
		switch name {
		case "maxmemory":
			var n int64
			if n, err = redisSize(value); err == nil {
				u.MaxMemory = &n
			}
		case "maxmemory-policy":
			policy := strings.ToLower(value)
			u.MaxMemoryPolicy = &policy
		case "appendonly":
			var on bool
			if on, err = redisBool(value); err == nil {
				u.Backup = &on
			}
		default:
			if u.Settings == nil {
				u.Settings = map[string]*string{}
			}
			_, err = canonical(name, value)
			u.Settings[name] = &value
		}
		if err != nil {
			return UpdateCluster{}, InField(name, err)
		}
	}
	return u, nil
}

// maxSetting bounds a value, in bytes.
const maxSetting = 64

// canonical writes a value in one of the ways that mean the same.
func canonical(name, value string) (string, error) {
	p, known := parameters[name]
	switch own, has := ownFields[name]; {
	case has:
		return "", Errorf(CodeInvalidArgument, "it has a field of its own: set %s", own)
	case !known:
		return "", Errorf(CodeInvalidArgument, "%.100q cannot be set: FrameDB sets it by itself, or Redis does not change it while it runs; give some of %s", name, strings.Join(SettableParameters(), ", "))
	case len(value) > maxSetting:
		return "", Errorf(CodeInvalidArgument, "it has %d characters: at most %d are allowed", len(value), maxSetting)
	}
	switch p.kind {
	case kindBool:
		on, err := redisBool(value)
		return strconv.FormatBool(on), err
	case kindWord:
		if lower := strings.ToLower(value); slices.Contains(p.words, lower) {
			return lower, nil
		}
		return "", Errorf(CodeInvalidArgument, "%q is unknown: give one of %s", value, strings.Join(p.words, ", "))
	case kindEvents:
		return redisEvents(value)
	}
	parse, what := parseNumber, "a whole number"
	if p.kind == kindSize {
		parse, what = redisSize, "bytes, with kb, mb or gb behind them or without"
	}
	n, err := parse(value)
	if err != nil || n < p.min || n > p.max {
		return "", Errorf(CodeInvalidArgument, "%q is out of range: give %s from %d to %d", value, what, p.min, p.max)
	}
	return strconv.FormatInt(n, 10), nil
}

// parseNumber is as strict as Redis, which takes neither +1 nor 01.
func parseNumber(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err == nil && strconv.FormatInt(n, 10) != s {
		err = strconv.ErrSyntax
	}
	return n, err
}

func redisBool(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "yes":
		return true, nil
	case "no":
		return false, nil
	}
	return false, Errorf(CodeInvalidArgument, "%q is no answer: give yes or no", s)
}

// redisUnits are those of Redis' memtoull: k is 1000, kb is 1024.
var redisUnits = map[string]int64{"": 1, "b": 1, "k": 1000, "kb": 1 << 10, "m": 1_000_000, "mb": 1 << 20, "g": 1_000_000_000, "gb": 1 << 30}

func redisSize(s string) (int64, error) {
	digits := strings.TrimRight(s, "bkmgBKMG")
	unit, known := redisUnits[strings.ToLower(s[len(digits):])]
	n, err := strconv.ParseUint(digits, 10, 62)
	if !known || err != nil || int64(n) > math.MaxInt64/unit {
		return 0, Errorf(CodeInvalidArgument, "%q is no size: give bytes, with kb, mb or gb behind them or without", s)
	}
	return int64(n) * unit, nil
}

// redisEvents orders the letters of notify-keyspace-events; A stands for g, $
// and the types of data.
func redisEvents(s string) (string, error) {
	const all, letters = "g$lshzxetd", "g$lshzxetdnmKE"
	s = strings.ReplaceAll(s, "A", all)
	var has strings.Builder
	for _, letter := range letters {
		if strings.ContainsRune(s, letter) {
			has.WriteRune(letter)
		}
	}
	if i := strings.IndexFunc(s, func(r rune) bool { return !strings.ContainsRune(letters, r) }); i >= 0 {
		return "", Errorf(CodeInvalidArgument, "%q is no kind of event: give some of %sA, or nothing", fmt.Sprintf("%c", []rune(s[i:])[0]), letters)
	}
	return has.String(), nil
}
