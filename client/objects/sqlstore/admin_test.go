package sqlstore

import (
	"strings"
	"testing"

	"github.com/framedb/framedb/client/wire"
)

func TestEngineOf(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]wire.Engine{
		"8.0.11-TiDB-v8.5.0":        wire.EngineTiDB,
		"5.7.25-TiDB-v6.5.0":        wire.EngineTiDB,
		"10.11.6-MariaDB-0+deb12u1": wire.EngineMariaDB,
		"5.5.5-10.11.6-MariaDB":     wire.EngineMariaDB,
		"8.0.36-0ubuntu0.22.04.1":   wire.EngineMySQL,
		"":                          "",
	} {
		if got := engineOf(version); got != want {
			t.Errorf("%q is %q, want %q", version, got, want)
		}
	}
}

// TestPasswordsAreNotInStatements but what servers keep of them, as MySQL's
// manual has it for "mypass".
func TestPasswordsAreNotInStatements(t *testing.T) {
	t.Parallel()
	const hash = "*6C8989366EAF75BB670AD8EA7A7FC1176A95CEF4"
	former := Passwords{Password: "mypass", Former: "o'ld", HasFormer: true}
	for _, c := range []struct {
		engine wire.Engine
		to     Passwords
		want   string
	}{
		{wire.EngineTiDB, former, " IDENTIFIED WITH 'mysql_native_password' AS '" + hash + "'"},
		{wire.EngineMariaDB, Passwords{Password: "mypass"}, " IDENTIFIED VIA mysql_native_password USING '" + hash + "'"},
		{wire.EngineMariaDB, former, " IDENTIFIED VIA mysql_native_password USING '" + hash + "' OR mysql_native_password USING '" + scrambled("o'ld") + "'"},
	} {
		got := Setup(c.engine, "ro'ot", "frame`db", c.to)
		for _, want := range []string{
			"CREATE USER IF NOT EXISTS 'ro''ot'@'%'" + c.want + ";\n", "ALTER USER 'ro''ot'@'%'" + c.want + ";\n",
			"ON *.* TO 'ro''ot'@'%' WITH GRANT OPTION;\n", "CREATE DATABASE IF NOT EXISTS `frame``db` ",
		} {
			if !strings.Contains(got, want) {
				t.Errorf("%s is missing in\n%s", want, got)
			}
		}
		if strings.Contains(got, "mypass") || strings.Contains(got, "o'ld") {
			t.Errorf("it tells a password:\n%s", got)
		}
	}
}
