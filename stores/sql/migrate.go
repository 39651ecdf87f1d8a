package sqlstore

import "context"

// migrationAttempts is enough for several machines at once: PostgreSQL's IF NOT
// EXISTS fails for all but one of them.
const migrationAttempts = 5

// Migrate makes the table and its index where they are missing, as [Dialect.Schema]
// has them, and adds the column owner to a table of an earlier version. Where the
// table is right it only reads, so a role that may not CREATE will do. Several
// machines may call it at once.
func (s *Store) Migrate(ctx context.Context) error {
	var err error
	for range migrationAttempts {
		if s.isMigrated(ctx) {
			return nil
		}
		if err = s.migrate(ctx); err == nil || ctx.Err() != nil {
			break
		}
	}
	return wrap(err)
}

// isMigrated reports whether the table has the latest columns.
func (s *Store) isMigrated(ctx context.Context) bool {
	rows, err := s.db.QueryContext(ctx, s.text.probe)
	if err != nil {
		return false
	}
	err = rows.Err()
	return rows.Close() == nil && err == nil
}

// migrate makes table and index together, so that a table without one is an earlier
// version's.
func (s *Store) migrate(ctx context.Context) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	for _, statement := range s.text.schema {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	if err := tx.Commit(); err != nil || s.isMigrated(ctx) {
		return err
	}
	_, err = s.db.ExecContext(ctx, s.text.upgrade)
	return err
}
