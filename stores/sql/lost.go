package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
)

// isLost reports whether to retry after err: the connection broke or could not be
// opened, or the server is starting or shutting down. net.Error would match too much:
// errors of SQLite in github.com/ncruces/go-sqlite3 also have its methods.
func isLost(err error) bool {
	if errors.Is(err, context.Canceled) {
		return false
	}
	for _, broken := range []error{
		io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, os.ErrDeadlineExceeded, context.DeadlineExceeded,
		driver.ErrBadConn, sql.ErrConnDone,
	} {
		if errors.Is(err, broken) {
			return true
		}
	}
	return errors.As(err, new(*net.OpError)) || errors.As(err, new(*net.DNSError)) || isStarting(err)
}

// isStarting reports whether err is PostgreSQL's error for starting or shutting
// down. Errors of pgx and of lib/pq have the method SQLState.
func isStarting(err error) bool {
	state, ok := errors.AsType[interface {
		error
		SQLState() string
	}](err)
	return ok && (strings.HasPrefix(state.SQLState(), "08") || // connection exception
		slices.Contains([]string{"57P01", "57P02", "57P03"}, state.SQLState())) // shutdown, crash, cannot connect now
}
