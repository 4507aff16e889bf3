package postgres

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/stoaproject/stoa/store"
)

// classify wraps an error of the driver with the error of the store that it means.
func classify(err error) error {
	if err == nil || errors.Is(err, store.ErrLocked) || errors.Is(err, store.ErrUnavailable) {
		return err
	}
	meaning := lost(err)
	var reported *pgconn.PgError
	if errors.As(err, &reported) {
		meaning = meaningOf(reported.Code)
	}
	if meaning == nil {
		return err
	}
	return fmt.Errorf("%w: %w", meaning, err)
}

// meaningOf maps a condition of the server, by its code ("PostgreSQL Error Codes", appendix A of its manual).
func meaningOf(code string) error {
	switch code {
	case "53100": // disk full
		return store.ErrFull
	case "25006", "42501": // a transaction or a standby that only reads; a right that is missing
		return store.ErrReadOnly
	case "55P03": // lock not available
		return store.ErrLocked
	case "XX001", "XX002": // a damaged table, a damaged index
		return store.ErrCorrupt
	case "22021", "22P05": // text with NUL or that is not UTF-8
		return store.ErrText
	case "40001", "40P01": // taken back for the sake of somebody else's transaction
		return store.ErrUnavailable
	case "25P03", "57P01", "57P02", "57P03", "57P05": // the server ended the connection, or is not up yet
		return store.ErrUnavailable
	}
	switch {
	case strings.HasPrefix(code, "08"), strings.HasPrefix(code, "53"), strings.HasPrefix(code, "58"):
		return store.ErrUnavailable // the connection; too many of them, or no memory; the server's own input and output
	}
	return nil
}

// lost recognises what the network does to a connection.
func lost(err error) error {
	var refused *pgconn.ConnectError
	var network net.Error
	switch {
	case errors.Is(err, context.Canceled): // by the caller
	case errors.As(err, &refused), errors.As(err, &network), pgconn.Timeout(err),
		errors.Is(err, driver.ErrBadConn), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, net.ErrClosed), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE),
		errors.Is(err, pgconn.ErrConnClosed):
		return store.ErrUnavailable
	}
	return nil
}
