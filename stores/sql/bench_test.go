package sqlstore_test

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/flyext/flyext"
	sqlstore "github.com/flyext/flyext/stores/sql"
)

// random returns a new nonce.
func random() flyext.Nonce {
	var key [16]byte
	binary.BigEndian.PutUint64(key[:], rand.Uint64())
	binary.BigEndian.PutUint64(key[8:], rand.Uint64())
	return flyext.Nonce{Key: key, Expires: time.Now().Add(6 * time.Minute)}
}

// BenchmarkUse enters new nonces in a PostgreSQL on loopback and in an SQLite file.
// Each is on disk when Use returns.
func BenchmarkUse(b *testing.B) {
	for _, d := range []database{newPostgreSQL(b), newSQLite(b).with("_pragma=synchronous%28FULL%29")} {
		store, _ := d.machine(b, sqlstore.Options{Timeout: time.Minute})
		use := func(b *testing.B) {
			if fresh, err := store.Use(context.Background(), random()); !fresh || err != nil {
				b.Errorf("got %t, %v", fresh, err)
			}
		}
		use(b)
		b.Run(d.dialect.String()+"/one", func(b *testing.B) {
			for b.Loop() {
				use(b)
			}
		})
		b.Run(d.dialect.String()+"/64at_once", func(b *testing.B) {
			b.SetParallelism(32) // times two cores
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					use(b)
				}
			})
		})
	}
}

// BenchmarkDisk reports PostgreSQL's disk space per row, including indexes, for
// keys that arrive in random order.
func BenchmarkDisk(b *testing.B) {
	const rows = 500_000
	for b.Loop() {
		_, db := newPostgreSQL(b).machine(b, sqlstore.Options{})
		for range 50 {
			_, err := db.ExecContext(b.Context(), `INSERT INTO flyext_nonces (key, expires_at, owner)
				SELECT substr(sha256(convert_to(random()::text || i, 'UTF8')), 1, 16), clock_timestamp() + interval '6 minutes', (random() * 9e18)::bigint FROM generate_series(1, $1::int) i`, rows/50)
			if err != nil {
				b.Fatal(err)
			}
		}
		var size int
		if err := db.QueryRowContext(b.Context(), "SELECT pg_total_relation_size('flyext_nonces')").Scan(&size); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(size)/rows, "B/nonce")
		b.ReportMetric(0, "ns/op")
	}
}
