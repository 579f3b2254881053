package canary

import (
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strings"
)

// piece is how much of a canary is enough to know it by. Five digits may be anyone's: of a number, a date, an
// address or an identifier it takes nine characters.
const (
	piece      = 5
	digitPiece = 9
)

// finder finds canaries in bytes: as they are, in either case, reversed, as hexadecimal digits and in base64,
// each by any piece of them.
type finder struct {
	folded map[string]string // lower-case needle → column
	exact  map[string]string // base64 keeps its case
	sizes  [2][]int          // lengths of needles, folded and exact
	starts [2][]uint64       // by a hash of how needles start: most places in a text need no second look
}

const startBits = 20

// start is a hash of the first five bytes, which every needle has.
func startOf(s string) (word int, bit uint64) {
	h := (uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 | uint64(s[4])<<32) * 0x9e3779b97f4a7c15 >> (64 - startBits)
	return int(h / 64), 1 << (h % 64)
}

func newFinder(list []planted) *finder {
	f := &finder{folded: map[string]string{}, exact: map[string]string{}}
	for _, p := range list {
		v := strings.ToLower(p.text)
		size := piece
		if strings.Trim(v, "0123456789.-abcdef") == "" {
			size = digitPiece
		}
		if len(v) == 10 && v[4] == '-' && v[7] == '-' {
			size = len(v) // a date without its millennium is another's
		}
		if strings.HasSuffix(p.column, ".badge") { // hexadecimal digits without their dashes are the bytes
			f.folded[strings.ReplaceAll(v, "-", "")[:12]] = p.column
		}
		for i := 0; i+size <= len(v); i++ {
			one := v[i : i+size]
			back := []byte(one)
			slices.Reverse(back)
			f.folded[one], f.folded[string(back)] = p.column, p.column
			f.folded[hex.EncodeToString([]byte(one))] = p.column
			for shift := range 3 { // base64 of a text that it stands in anywhere, of which the ends are not known
				if i+size+2 > len(v) {
					continue
				}
				padded := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + p.text[i:i+size+2]))
				f.exact[padded[(shift*8+5)/6:(shift+size+2)*8/6]] = p.column
			}
		}
	}
	for i, m := range []map[string]string{f.folded, f.exact} {
		f.starts[i] = make([]uint64, 1<<startBits/64)
		for needle := range m {
			word, bit := startOf(needle)
			f.starts[i][word] |= bit
			if !slices.Contains(f.sizes[i], len(needle)) {
				f.sizes[i] = append(f.sizes[i], len(needle))
			}
		}
	}
	return f
}

// find names a column whose canary is in b, and the piece that was found; "" where none is.
func (f *finder) find(b []byte) (column, found string) {
	for i, m := range []map[string]string{f.folded, f.exact} {
		in := string(b)
		if i == 0 {
			in = lower(b)
		}
		for at := 0; at+5 <= len(in); at++ {
			if word, bit := startOf(in[at:]); f.starts[i][word]&bit == 0 {
				continue
			}
			for _, size := range f.sizes[i] {
				if at+size > len(in) {
					continue
				}
				if c, ok := m[in[at:at+size]]; ok && (i == 1 || cased(string(b[at:at+size]))) {
					return c, in[at : at+size]
				}
			}
		}
	}
	return "", ""
}

// cased says whether a text is in lower case, in upper case, or begins with one capital: what is between these is
// somebody else's base64.
func cased(s string) bool {
	return s == strings.ToLower(s) || s == strings.ToUpper(s) || s[1:] == strings.ToLower(s[1:])
}

// lower is in lower case what is ASCII: no byte moves.
func lower(b []byte) string {
	out := slices.Clone(b)
	for i, c := range out {
		if 'A' <= c && c <= 'Z' {
			out[i] += 'a' - 'A'
		}
	}
	return string(out)
}
