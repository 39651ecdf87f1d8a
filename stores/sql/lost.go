package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
)

// isLost reports whether to retry after err: the connection broke or could not be
// opened, or the server is starting or shutting down.
func isLost(err error) bool {
	if _, ok := errors.AsType[net.Error](err); ok {
		return !errors.Is(err, context.Canceled)
	}
	for _, broken := range []error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, driver.ErrBadConn, sql.ErrConnDone} {
		if errors.Is(err, broken) {
			return true
		}
	}
	return isStarting(err)
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
