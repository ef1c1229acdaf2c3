package doctor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/dustin/go-humanize"

	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
	shared "github.com/m7pulse/m7pulse/shared/clickhouse"
)

func clickHouseServer(ctx context.Context, of Installation, n *notes) error {
	conn, err := sinkclickhouse.Open(of.Env["CLICKHOUSE_URL"])
	if err != nil {
		return err
	}
	defer conn.Close()
	var release, zone string
	var now time.Time
	asked := time.Now()
	if err := conn.QueryRow(ctx, "SELECT version(), timezone(), now64(3)").Scan(&release, &zone, &now); err != nil {
		return fmt.Errorf("ask for its version: %w", err)
	}
	n.clock(now, asked, 0)
	if zone != "UTC" && zone != "Etc/UTC" {
		n.wrong("set <timezone>UTC</timezone>: the sink refuses another, for its days would differ", "it runs in time zone %s", zone)
	}
	if err := lookAtSchema(ctx, conn, release, n); err != nil {
		return err
	}
	if err := lookAtRights(ctx, conn, n); err != nil {
		return err
	}
	return lookAtDisks(ctx, conn, n)
}

func lookAtSchema(ctx context.Context, conn driver.Conn, release string, n *notes) error {
	var made uint64
	if err := conn.QueryRow(ctx, "SELECT count() FROM system.tables WHERE database = 'pulse' AND name = 'schema_versions'").Scan(&made); err != nil {
		return fmt.Errorf("look for the schema: %w", err)
	}
	if made == 0 {
		n.ok("version %s; no schema yet: the sink makes it with its first event", release)
		return nil
	}
	var have uint32
	if err := conn.QueryRow(ctx, "SELECT max(version) FROM pulse.schema_versions").Scan(&have); err != nil {
		return fmt.Errorf("read the version of the schema: %w", err)
	}
	switch ours := sinkclickhouse.SchemaVersion(); {
	case int(have) > ours:
		n.wrong("run the newer release: this one would leave columns empty, and refuses", "its schema is version %d, this release knows %d", have, ours)
	case int(have) < ours:
		n.ok("version %s, schema %d of %d: the sink brings it up with its next event", release, have, ours)
	default:
		n.ok("version %s, schema %d", release, have)
	}
	return nil
}

// lookAtRights asks the server itself; one too old to be asked is trusted.
func lookAtRights(ctx context.Context, conn driver.Conn, n *notes) error {
	var may uint8
	err := conn.QueryRow(ctx, "CHECK GRANT SELECT, INSERT, ALTER, CREATE TABLE, CREATE VIEW ON pulse.*").Scan(&may)
	var refused *clickhouse.Exception
	if errors.As(err, &refused) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("ask what the user may do: %w", err)
	}
	if may == 0 {
		n.wrong("GRANT SELECT, INSERT, ALTER, CREATE, DROP ON pulse.* to it", "the user of CLICKHOUSE_URL may not make and fill the tables of pulse")
	}
	return nil
}

func lookAtDisks(ctx context.Context, conn driver.Conn, n *notes) error {
	rows, err := conn.Query(ctx, "SELECT name, free_space, total_space FROM system.disks WHERE total_space < toUInt64(1e18)") // an object store says that it has no end
	if err != nil {
		return fmt.Errorf("ask for its disks: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var free, total uint64
		if err := rows.Scan(&name, &free, &total); err != nil {
			return fmt.Errorf("ask for its disks: %w", err)
		}
		switch {
		case free < noRoom:
			n.wrong("make room: it refuses inserts", "disk %s has %s free", name, humanize.IBytes(free))
		case free < littleRoom || free < total/50:
			n.warning("make room: merges need as much as the parts that they join", "disk %s has %s of %s free", name, humanize.IBytes(free), humanize.IBytes(total))
		}
	}
	return rows.Err()
}

func clickHouseReader(ctx context.Context, of Installation, n *notes) error {
	address := of.Env["CLICKHOUSE_READER_URL"]
	if address == "" {
		n.warning("set CLICKHOUSE_READER_URL to a user who may only read", "there is none: dashboards and the API have no data")
		return nil
	}
	opts, err := shared.Options(address) // without the sink's settings, which a reader may not change
	if err != nil {
		return err
	}
	conn, err := clickhouse.Open(opts)
	if err != nil {
		return err
	}
	defer conn.Close()
	var readonly, user string
	if err := conn.QueryRow(ctx, "SELECT value, currentUser() FROM system.settings WHERE name = 'readonly'").Scan(&readonly, &user); err != nil {
		return fmt.Errorf("ask what the reader may do: %w", err)
	}
	if readonly == "0" {
		n.wrong("set readonly = 1 in the reader's profile: its password is in dashboards", "the user %s may write", user)
		return nil
	}
	n.ok("%s may only read", user)
	return nil
}
