package oip

import (
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/stoaproject/stoa"
)

// A scanner walks over a JSON text. Every method starts at the first byte of what it reads, white space excepted, and
// ends behind the last.
type scanner struct {
	buf []byte
	pos int
}

// malformed reports a text that is not JSON, or not the JSON that the protocol asks for.
func (s *scanner) malformed(want string) error {
	if s.pos >= len(s.buf) {
		return refusal(stoa.ReasonMalformed, "the body ends at byte %d where %s is expected", s.pos, want)
	}
	return refusal(stoa.ReasonMalformed, "byte %d of the body is %s where %s is expected",
		s.pos, strconv.QuoteRuneToASCII(rune(s.buf[s.pos])), want)
}

// peek skips white space and returns the next byte, or 0 at the end.
func (s *scanner) peek() byte {
	for s.pos < len(s.buf) {
		switch c := s.buf[s.pos]; c {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return c
		}
	}
	return 0
}

// take reads one given byte of punctuation.
func (s *scanner) take(c byte, want string) error {
	if s.peek() != c || s.pos >= len(s.buf) {
		return s.malformed(want)
	}
	s.pos++
	return nil
}

// next tells, behind an element of an array or object, whether another follows. It reads the comma or the closing byte.
func (s *scanner) next(closing byte) (more bool, err error) {
	switch c := s.peek(); {
	case c == ',':
		s.pos++
		return true, nil
	case c == closing && s.pos < len(s.buf):
		s.pos++
		return false, nil
	case closing == ']':
		return false, s.malformed("a comma or the end of the array")
	default:
		return false, s.malformed("a comma or the end of the object")
	}
}

// open reads the opening byte of an array or object and tells whether it has elements; of an empty one it reads the
// closing byte too.
func (s *scanner) open(opening, closing byte, want string) (some bool, err error) {
	if err := s.take(opening, want); err != nil {
		return false, err
	}
	if s.peek() == closing {
		s.pos++
		return false, nil
	}
	return true, nil
}

// raw reads a string and returns what stands between its quotes, still escaped, and whether it holds an escape.
func (s *scanner) raw(want string) (text []byte, escaped bool, err error) {
	if err := s.take('"', want); err != nil {
		return nil, false, err
	}
	start, ascii := s.pos, true
	for s.pos < len(s.buf) {
		switch c := s.buf[s.pos]; {
		case c == '"':
			text = s.buf[start:s.pos]
			if !ascii && !utf8.Valid(text) {
				return nil, false, refusal(stoa.ReasonMalformed, "the string at byte %d of the body is not UTF-8", start)
			}
			s.pos++
			return text, escaped, nil
		case c == '\\':
			escaped = true
			s.pos += 2
		case c < ' ':
			return nil, false, s.malformed("no control character")
		default:
			ascii = ascii && c < utf8.RuneSelf
			s.pos++
		}
	}
	s.pos = len(s.buf)
	return nil, false, s.malformed("the end of a string")
}

// str reads a string.
func (s *scanner) str(want string) (string, error) {
	start := s.pos
	text, escaped, err := s.raw(want)
	if err != nil || !escaped {
		return string(text), err
	}
	plain, ok := unescape(text)
	if !ok {
		return "", refusal(stoa.ReasonMalformed, "the string at byte %d of the body has an escape that is not valid", start)
	}
	return plain, nil
}

// unescape resolves the escapes of a JSON string. Half a surrogate pair is not valid.
func unescape(text []byte) (string, bool) {
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			out = append(out, text[i])
			continue
		}
		i++
		switch text[i] {
		case '"', '\\', '/':
			out = append(out, text[i])
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, ok := hex4(text[i+1:])
			if !ok {
				return "", false
			}
			i += 4
			if utf16.IsSurrogate(r) {
				if len(text) < i+3 || text[i+1] != '\\' || text[i+2] != 'u' {
					return "", false
				}
				low, ok := hex4(text[i+3:])
				if r = utf16.DecodeRune(r, low); !ok || r == utf8.RuneError {
					return "", false
				}
				i += 6
			}
			out = utf8.AppendRune(out, r)
		default:
			return "", false
		}
	}
	return string(out), true
}

// hex4 reads the four digits of a \u escape.
func hex4(text []byte) (rune, bool) {
	if len(text) < 4 {
		return 0, false
	}
	var r rune
	for _, c := range text[:4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// word reads a literal name such as true.
func (s *scanner) word(w string) bool {
	if end := s.pos + len(w); end <= len(s.buf) && string(s.buf[s.pos:end]) == w {
		s.pos = end
		return true
	}
	return false
}

// boolean reads true or false.
func (s *scanner) boolean() (value, ok bool) {
	switch s.peek() {
	case 't':
		return true, s.word("true")
	case 'f':
		return false, s.word("false")
	}
	return false, false
}

// A number is a JSON number: its text, and its value as ±mantissa × 10^exponent when that is exact.
type number struct {
	text     []byte
	mantissa uint64
	exponent int
	negative bool
	exact    bool // mantissa and exponent are the whole number
	integer  bool // written without fraction and exponent
}

// number reads a number by the grammar of JSON.
func (s *scanner) number() (number, error) {
	s.peek()
	n := number{exact: true, integer: true}
	start := s.pos
	if s.at('-') {
		n.negative = true
		s.pos++
	}
	switch first := s.pos; {
	case s.at('0'):
		s.pos++
	case s.digits(&n) == 0:
		s.pos = first
		return n, s.malformed("a digit")
	}
	if s.at('.') {
		s.pos++
		n.integer = false
		fraction := s.digits(&n)
		if fraction == 0 {
			return n, s.malformed("a digit")
		}
		n.exponent = -fraction
	}
	if s.at('e') || s.at('E') {
		s.pos++
		n.integer = false
		if err := s.exponent(&n); err != nil {
			return n, err
		}
	}
	n.text = s.buf[start:s.pos]
	return n, nil
}

func (s *scanner) at(c byte) bool { return s.pos < len(s.buf) && s.buf[s.pos] == c }

// digits reads decimal digits into the mantissa and returns how many there were.
func (s *scanner) digits(n *number) int {
	start := s.pos
	for s.pos < len(s.buf) {
		c := s.buf[s.pos] - '0'
		if c > 9 {
			break
		}
		// 1<<60 leaves room for one more digit, and is past what the callers can use exactly as a float.
		if n.mantissa >= 1<<60 {
			n.exact = false
		}
		n.mantissa = n.mantissa*10 + uint64(c)
		s.pos++
	}
	return s.pos - start
}

// exponent reads what follows the e of a number.
func (s *scanner) exponent(n *number) error {
	sign := 1
	switch {
	case s.at('-'):
		sign = -1
		s.pos++
	case s.at('+'):
		s.pos++
	}
	var e number
	if s.digits(&e) == 0 {
		return s.malformed("a digit")
	}
	if !e.exact || e.mantissa > 1000 {
		n.exact = false
		return nil
	}
	n.exponent += sign * int(e.mantissa)
	return nil
}

// skip reads any value, checks that it is JSON, and forgets it.
func (s *scanner) skip(depth int) error {
	if depth <= 0 {
		return refusal(stoa.ReasonMalformed, "the body nests too deeply at byte %d", s.pos)
	}
	switch c := s.peek(); c {
	case '{':
		return s.skipAll('{', '}', depth)
	case '[':
		return s.skipAll('[', ']', depth)
	case '"':
		_, err := s.str("a string")
		return err
	case 't', 'f':
		if _, ok := s.boolean(); ok {
			return nil
		}
	case 'n':
		if s.word("null") {
			return nil
		}
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		_, err := s.number()
		return err
	}
	return s.malformed("a value")
}

// skipAll skips an array or an object with its elements.
func (s *scanner) skipAll(opening, closing byte, depth int) error {
	more, err := s.open(opening, closing, "a value")
	for more && err == nil {
		if opening == '{' {
			if _, err := s.str("a key"); err != nil {
				return err
			}
			if err := s.take(':', "a colon"); err != nil {
				return err
			}
		}
		if err := s.skip(depth - 1); err != nil {
			return err
		}
		more, err = s.next(closing)
	}
	return err
}
