package sqlstore

import "context"

// migrationAttempts is enough for several machines at the same time: PostgreSQL's
// IF NOT EXISTS can fail for all but one of them.
const migrationAttempts = 5

// Migrate creates the table and its index with the SQL of [Dialect.Schema] if they
// are missing, and adds the column owner to a table of an earlier version. If the
// table is up to date, Migrate only reads, so the role does not need CREATE.
// Several machines may call Migrate at the same time. Only ctx limits its time;
// [Options.Timeout] does not apply.
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

// isMigrated reports whether the table exists with all columns.
func (s *Store) isMigrated(ctx context.Context) bool {
	rows, err := s.db.QueryContext(ctx, s.text.probe)
	if err != nil {
		return false
	}
	err = rows.Err()
	return rows.Close() == nil && err == nil
}

// migrate creates the table and its index in one transaction. If a column is still
// missing after that, the table is from an earlier version.
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
