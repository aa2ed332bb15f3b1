package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/framedb/framedb/client/wire"
)

// storageFlags are what storage create and update take.
type storageFlags struct {
	size, parameters string
	external         wire.ExternalStorage
	exclusive        bool
	backup           wire.BackupPlan
	noBackup         bool
	wait             time.Duration
}

func (o *storageFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.size, "size", "", "size of each TiKV's volume, such as 10Gi (default "+wire.DefaultStorageSize+")")
	f.StringVar(&o.parameters, "parameters", "", `database parameters: {"pd": {...}, "tikv": {...}, "tidb": {...}}, or @FILE with that`)
	f.StringVar(&o.external.Address, "external", "", "host:port of a TiDB or MySQL server that exists already, which FrameDB never stops")
	f.StringVar(&o.external.User, "external-user", "", "user at that server (default "+wire.DefaultStorageUser+")")
	f.StringVar(&o.external.Database, "external-database", "", "database at that server (default "+wire.DefaultDatabase+")")
	f.BoolVar(&o.external.TLS, "external-tls", false, "connect to that server by TLS")
	f.BoolVar(&o.exclusive, "exclusive", false, "no other program writes into data_table: what differs is damage then")
	f.StringVar(&o.backup.Schedule, "backup", "", `when to back it up: a cron line in UTC, or "@every 6h", "@daily" and the like`)
	f.StringVar(&o.backup.Target, "backup-target", "", "where to: a backup target of the agents' configuration")
	f.IntVar(&o.backup.Keep, "backup-keep", 0, "how many backups stay (default: all)")
	f.DurationVar(&o.wait, "wait", defaultWait, "how long to wait until it is ready")
}

// update is what was given.
func (o *storageFlags) update(cmd *cobra.Command) (u wire.UpdateStorage, err error) {
	given := cmd.Flags().Changed
	if given("size") {
		u.StorageSize = &o.size
	}
	if given("exclusive") {
		u.Exclusive = &o.exclusive
	}
	switch external := given("external-user") || given("external-database") || given("external-tls"); {
	case given("external"):
		u.External = &o.external
	case external:
		return u, usagef(cmd, "give --external host:port, too")
	}
	switch {
	case o.noBackup && given("backup"):
		return u, usagef(cmd, "give --backup or --no-backup")
	case o.noBackup:
		u.Backup = &wire.BackupPlan{}
	case given("backup") || given("backup-target") || given("backup-keep"):
		u.Backup = &o.backup
	}
	if given("parameters") {
		u.Parameters, err = readParameters(cmd, o.parameters)
	}
	return u, err
}

func readParameters(cmd *cobra.Command, text string) (*wire.StorageParameters, error) {
	if name, file := strings.CutPrefix(text, "@"); file {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		text = string(data)
	}
	p := new(wire.StorageParameters)
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	err := d.Decode(p)
	if err == nil && d.More() {
		err = errors.New("there is something behind it")
	}
	if err != nil {
		return nil, usagef(cmd, `--parameters: give {"pd": {...}, "tikv": {...}, "tidb": {...}}: %v`, err)
	}
	return p, nil
}

// replicaFlags are how many servers of each kind there are.
func replicaFlags(cmd *cobra.Command, r *wire.StorageReplicas, absent string) {
	cmd.Flags().IntVar(&r.PD, "pd", 0, "PD servers, which say where data is (default: "+absent+")")
	cmd.Flags().IntVar(&r.TiKV, "tikv", 0, "TiKV servers, which keep data (default: "+absent+")")
	cmd.Flags().IntVar(&r.TiDB, "tidb", 0, "TiDB servers, which speak MySQL's protocol (default: "+absent+")")
}

func (a *app) storageCreate() *cobra.Command {
	var o storageFlags
	var replicas wire.StorageReplicas
	var tag, passwordFile string
	cmd := &cobra.Command{
		Use:   "create ID",
		Short: "Create a persistent FrameDB and wait until it is ready",
		Long: `Create a persistent FrameDB. TiDB holds it or, where there is none, a server that
speaks the same protocol: ENGINE says which.

Without --node-tag it goes to the first tag of the node that is asked. Without
--password-file it has the deployment's password. Creating goes on when --wait is
over; the exit code is 5 then.`,
		Example: "  framedb storage create archive --node-tag node-1 --size 100Gi --tikv 3\n  framedb storage create corpus --external db.example:4000 --password-file secret",
		Args:    cobra.ExactArgs(1),
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			create := wire.CreateStorage{ID: wire.FrameDBID(args[0]), StorageSpec: wire.StorageSpec{NodeTag: wire.NodeTag(tag), Replicas: replicas}}
			if passwordFile != "" {
				password, err := readPassword(s.cmd, passwordFile)
				if err != nil {
					return err
				}
				create.Password = password
			}
			return s.createStorage(ctx, create, &o)
		}),
	}
	cmd.Flags().StringVar(&tag, "node-tag", "", "where it runs: on the node that carries this tag")
	cmd.Flags().StringVar(&passwordFile, "password-file", "", "a file with its password, - for stdin (default: the deployment's)")
	o.add(cmd)
	replicaFlags(cmd, &replicas, "1")
	must(cmd.RegisterFlagCompletionFunc("node-tag", a.completeTags))
	return cmd
}

func (s *session) createStorage(ctx context.Context, create wire.CreateStorage, o *storageFlags) error {
	u, err := o.update(s.cmd)
	if err != nil {
		return err
	}
	create.StorageSize, create.Exclusive, create.External, create.Backup = o.size, o.exclusive, u.External, u.Backup
	if u.Parameters != nil {
		create.Parameters = *u.Parameters
	}
	if create.NodeTag == "" {
		if create.NodeTag, err = s.ownTag(ctx); err != nil {
			return err
		}
	}
	p, err := s.client.CreateStorage(ctx, create, 0)
	if err != nil {
		return err
	}
	return s.printStored(ctx, "creating", p, o.wait)
}

// printStored waits until it is what was asked for, and prints it.
func (s *session) printStored(ctx context.Context, what string, p wire.PersistentInstance, wait time.Duration) error {
	bar := s.progress(what + " " + string(p.ID))
	p, err := await(ctx, s.client, wire.TablePersistent, p, storageState, wait, func(p *wire.PersistentInstance) {
		ready, wanted := countServers(p)
		note := "servers ready"
		if p.Status.Reason != "" {
			note += ": " + p.Status.Reason
		}
		bar.set(ready, wanted, note)
	})
	bar.finish()
	if err != nil && !errors.Is(err, errNotYet) {
		return err
	}
	printed := s.print(p, func() { s.storageTable([]wire.PersistentInstance{p}) })
	if notTiDB(p.Status.Engine) && p.External == nil {
		s.note("%s is on %s, which speaks TiDB's protocol and is no TiDB: it is for development", p.ID, p.Status.Engine)
	}
	return errors.Join(err, printed)
}

func (a *app) storageUpdate() *cobra.Command {
	var o storageFlags
	cmd := &cobra.Command{
		Use:   "update ID",
		Short: "Change the settings of a persistent FrameDB",
		Long: `Change the settings of a persistent FrameDB; what is not given stays as it is.
Parameters of a kind of server replace those that it had; {} takes them away.`,
		Example:           "  framedb storage update archive --size 200Gi\n  framedb storage update archive --backup '0 3 * * *' --backup-target s3 --backup-keep 7",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeStorage(1),
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			u, err := o.update(s.cmd)
			if err != nil {
				return err
			}
			if u == (wire.UpdateStorage{}) {
				return usagef(s.cmd, "give what to change")
			}
			return s.updateStorage(ctx, "changing", args[0], u, o.wait)
		}),
	}
	o.add(cmd)
	cmd.Flags().BoolVar(&o.noBackup, "no-backup", false, "end backups; those there are stay")
	return cmd
}

func (s *session) updateStorage(ctx context.Context, what, id string, u wire.UpdateStorage, wait time.Duration) error {
	p, err := s.client.UpdateStorage(ctx, wire.FrameDBID(id), u, 0)
	if err != nil {
		return err
	}
	return s.printStored(ctx, what, p, wait)
}

func (a *app) storageScale() *cobra.Command {
	var replicas wire.StorageReplicas
	var wait time.Duration
	cmd := &cobra.Command{
		Use:               "scale ID --pd N --tikv N --tidb N",
		Short:             "Change how many servers of each kind a persistent FrameDB has",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeStorage(1),
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			for _, f := range []struct {
				name string
				n    int
			}{{"pd", replicas.PD}, {"tikv", replicas.TiKV}, {"tidb", replicas.TiDB}} {
				if s.cmd.Flags().Changed(f.name) && f.n < 1 {
					return usagef(s.cmd, "--%s %d: give 1 to %d", f.name, f.n, wire.MaxStorageReplicas)
				}
			}
			if replicas == (wire.StorageReplicas{}) {
				return usagef(s.cmd, "give some of --pd, --tikv and --tidb")
			}
			return s.updateStorage(ctx, "scaling", args[0], wire.UpdateStorage{Replicas: &replicas}, wait)
		}),
	}
	replicaFlags(cmd, &replicas, "as it is")
	cmd.Flags().DurationVar(&wait, "wait", defaultWait, "how long to wait until it is done")
	return cmd
}

func (a *app) storagePassword() *cobra.Command {
	var file string
	var deployment bool
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "password ID --file FILE | --deployment",
		Short: "Change the password of a persistent FrameDB",
		Long: `Change the password of a persistent FrameDB to what stands in a file, - for stdin,
or to the deployment's. Programs that connect with the former one cannot any more.`,
		Example:           "  openssl rand -hex 16 | framedb storage password archive --file -",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeStorage(1),
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			if deployment == (file != "") {
				return usagef(s.cmd, "give --file FILE or --deployment")
			}
			password := ""
			if !deployment {
				var err error
				if password, err = readPassword(s.cmd, file); err != nil {
					return err
				}
			}
			return s.updateStorage(ctx, "changing", args[0], wire.UpdateStorage{Password: &password}, wait)
		}),
	}
	cmd.Flags().StringVar(&file, "file", "", "a file with the password, - for stdin")
	cmd.Flags().BoolVar(&deployment, "deployment", false, "take the deployment's password")
	cmd.Flags().DurationVar(&wait, "wait", defaultWait, "how long to wait until it is done")
	return cmd
}

// readPassword reads a file without its last line break. An empty password
// would mean the deployment's: that is to be said.
func readPassword(cmd *cobra.Command, name string) (string, error) {
	in := cmd.InOrStdin()
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return "", err
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, wire.MaxPassword+3))
	if err != nil {
		return "", err
	}
	password := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	if password == "" {
		return "", usagef(cmd, "%s is empty: give a password", name)
	}
	if err := wire.ValidatePassword(password); err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return password, nil
}
