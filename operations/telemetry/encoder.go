package telemetry

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// maxText is how many bytes of a text a line shows.
const maxText = 512

// An encoder appends one line to a buffer, as JSON or as key=value pairs, without allocating. Keys are literals that need
// no quoting.
type encoder struct {
	buf   []byte
	json  bool
	comma bool
}

func (e *encoder) begin() {
	if e.json {
		e.buf = append(e.buf, '{')
	}
}

func (e *encoder) end() []byte {
	if e.json {
		e.buf = append(e.buf, '}')
	}
	return append(e.buf, '\n')
}

func (e *encoder) key(key string) {
	if e.json {
		if e.comma {
			e.buf = append(e.buf, ',')
		}
		e.buf = append(e.buf, '"')
		e.buf = append(e.buf, key...)
		e.buf = append(e.buf, '"', ':')
	} else {
		if e.comma {
			e.buf = append(e.buf, ' ')
		}
		e.buf = append(e.buf, key...)
		e.buf = append(e.buf, '=')
	}
	e.comma = true
}

// plain appends a value that is known to need no escaping.
func (e *encoder) plain(key, value string) {
	e.key(key)
	if e.json || value == "" {
		e.buf = append(e.buf, '"')
		e.buf = append(e.buf, value...)
		e.buf = append(e.buf, '"')
		return
	}
	e.buf = append(e.buf, value...)
}

// text appends a value that may come from outside: cut to maxText, without secrets, escaped.
func (e *encoder) text(key, value string) {
	if strings.Contains(value, secretMark) {
		value = redactText(value)
	}
	if len(value) > maxText {
		value = value[:maxText]
	}
	e.key(key)
	if e.json || needsQuotes(value) {
		e.buf = appendQuoted(e.buf, value)
		return
	}
	e.buf = append(e.buf, value...)
}

func (e *encoder) number(key string, n int64) {
	e.key(key)
	e.buf = strconv.AppendInt(e.buf, n, 10)
}

// millis appends a duration in milliseconds, to the microsecond.
func (e *encoder) millis(key string, d time.Duration) {
	e.key(key)
	micros := max(0, d.Microseconds())
	e.buf = strconv.AppendInt(e.buf, micros/1000, 10)
	e.buf = append(e.buf, '.')
	e.buf = appendDigits(e.buf, int(micros%1000), 100)
}

// time appends a time to the microsecond, in UTC.
func (e *encoder) time(key string, t time.Time, clock *clock) {
	e.key(key)
	if e.json {
		e.buf = append(e.buf, '"')
	}
	e.buf = append(e.buf, clock.seconds(t)...)
	e.buf = append(e.buf, '.')
	e.buf = appendDigits(e.buf, t.Nanosecond()/1000, 100_000)
	e.buf = append(e.buf, 'Z')
	if e.json {
		e.buf = append(e.buf, '"')
	}
}

// appendDigits appends n with leading zeros; highest is the value of the first digit.
func appendDigits(b []byte, n, highest int) []byte {
	for ; highest > 0; highest /= 10 {
		b = append(b, byte('0'+n/highest%10))
	}
	return b
}

// A clock keeps the text of the second it was last asked for: lines come many to the second.
type clock struct {
	unix int64
	text []byte
}

// seconds returns the text of t without its fraction, valid until the next call.
func (c *clock) seconds(t time.Time) []byte {
	if unix := t.Unix(); len(c.text) == 0 || unix != c.unix {
		c.unix = unix
		c.text = t.UTC().AppendFormat(c.text[:0], "2006-01-02T15:04:05")
	}
	return c.text
}

// needsQuotes reports whether a value of a key=value pair must be quoted to be read back.
func needsQuotes(s string) bool {
	if s == "" {
		return true
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c == '"' || c == '=' || c == '\\' || c >= 0x7f {
			return true
		}
	}
	return false
}

// appendQuoted appends s as a JSON string. Bytes that are not UTF-8 become U+FFFD.
func appendQuoted(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf && c != 0x7f {
			i++
			continue
		}
		if c < utf8.RuneSelf {
			b = append(b, s[start:i]...)
			switch c {
			case '"', '\\':
				b = append(b, '\\', c)
			case '\n':
				b = append(b, '\\', 'n')
			case '\t':
				b = append(b, '\\', 't')
			default:
				b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			}
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			b = append(b, s[start:i]...)
			b = append(b, "\uFFFD"...)
			start = i + 1
		} else if r == '\u2028' || r == '\u2029' || r == '\u0085' {
			// Some readers of logs take these for the end of a line.
			b = append(b, s[start:i]...)
			b = append(b, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
			start = i + size
		}
		i += size
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}
