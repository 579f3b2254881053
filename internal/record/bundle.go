package record

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"time"
)

// The format of a bundle, one session with its proof (docs/recordings.md):
//
//	"GHBNDL1\n", then parts, each kind u8, length u32, that many bytes:
//	'I' information, JSON (BundleInfo); the first part
//	'E' an entry of the session as it stands in the journal, in order
//	'M' the node head before the session was opened [32], then the hash of every entry of the journal that opens or closes a
//	    session, from the one that opens this one on [32] each
//	'H' a signed head, JSON (Head): what the marks of 'M' come to
//	'Z' the end: how many entries there were, u64
const bundleMagic = "GHBNDL1\n"

// maxInfo bounds the parts of a bundle that are JSON, maxMarks its marks, in bytes.
const (
	maxInfo  = 1 << 20
	maxMarks = 256 << 20
)

// ErrBundle is in the chain of an error about a file that is no bundle, or one of a newer version.
var ErrBundle = errors.New("not a bundle of this version")

// BundleInfo says what a bundle is.
type BundleInfo struct {
	Session string    `json:"session"`
	Made    time.Time `json:"made"`
	// Key is the session's key, in hex; none: what happened in it cannot be read from the bundle.
	Key string `json:"key,omitempty"`
}

// Export writes a session with its proof, that it can be read and verified by who trusts nothing but a public key. sealed
// leaves its key out. signed says whether a signed head stands behind it; without one the proof is what it says of itself.
func Export(ctx context.Context, dir, session string, sealed bool, out io.Writer) (signed bool, err error) {
	list, err := segments(dir)
	if err != nil {
		return false, err
	}
	if len(list) == 0 {
		if _, err := os.Stat(dir); err != nil {
			return false, err
		}
	}
	heads, err := Heads(dir)
	if err != nil {
		return false, err
	}
	keys := newKeyring(dir)
	x := exporter{out: bufio.NewWriterSize(out, 256<<10), session: session, sealed: sealed, heads: map[hash]Head{}}
	for _, h := range slices.Backward(heads) {
		x.heads[h.sum()] = h
	}
	for _, s := range list {
		f, err := os.Open(s.path)
		if err != nil {
			return false, err
		}
		s.raw(ctx, f, func(at place, whole []byte, e error) bool {
			if e == nil {
				e = x.entry(whole, keys)
			}
			err = e
			return e == nil && !x.done
		})
		f.Close()
		if err != nil && !errors.Is(err, errTail) {
			return false, err
		}
		if x.done {
			break
		}
	}
	if x.entries == 0 {
		return false, fmt.Errorf("%w: %s", ErrNoSession, session)
	}
	return x.end()
}

// exporter writes a bundle.
type exporter struct {
	out     *bufio.Writer
	session string
	sealed  bool
	heads   map[hash]Head
	entries uint64
	closed  bool
	marks   []byte
	head    *Head
	done    bool
}

func (x *exporter) part(kind byte, b []byte) error {
	head := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(b)))
	_, err := x.out.Write(head)
	if err == nil {
		_, err = x.out.Write(b)
	}
	return err
}

func (x *exporter) entry(whole []byte, keys *keyring) error {
	e, err := headOf(whole)
	if err != nil {
		return err
	}
	if e.Session == x.session {
		if x.entries == 0 {
			if err := x.begin(e, keys); err != nil {
				return err
			}
		}
		x.entries++
		x.closed = x.closed || e.Number > 1 && e.flags&flagNode != 0
		if err := x.part('E', whole); err != nil {
			return err
		}
	}
	if x.entries == 0 || e.flags&flagNode == 0 {
		return nil
	}
	if x.marks == nil {
		x.marks = append(x.marks, e.node[:]...)
	}
	if x.marks = append(x.marks, e.hash[:]...); len(x.marks) > maxMarks {
		return fmt.Errorf("session %s was open for too long to be proved in one bundle", x.session)
	}
	if h, ok := x.heads[advance(e.node, e.hash)]; ok && x.closed {
		x.head, x.done = &h, true
	}
	return nil
}

func (x *exporter) begin(e Entry, keys *keyring) error {
	if _, err := x.out.WriteString(bundleMagic); err != nil {
		return err
	}
	info := BundleInfo{Session: x.session, Made: time.Now().UTC().Truncate(time.Second)}
	if e.flags&flagSealed != 0 && !x.sealed {
		b, err := readSlot(keys.dir, e.slot)
		if err != nil {
			return err
		}
		if _, err := keys.find(e.slot, x.session); err != nil {
			return err
		}
		if key := b[len(hash{}) : len(hash{})+keySize]; hash(key) != (hash{}) {
			info.Key = hex.EncodeToString(key)
		}
	}
	text, err := json.Marshal(info)
	if err != nil {
		return err
	}
	return x.part('I', text)
}

func (x *exporter) end() (bool, error) {
	err := x.part('M', x.marks)
	if err == nil && x.head != nil {
		var text []byte
		if text, err = json.Marshal(x.head); err == nil {
			err = x.part('H', text)
		}
	}
	if err == nil {
		err = x.part('Z', binary.BigEndian.AppendUint64(nil, x.entries))
	}
	return x.head != nil, errors.Join(err, x.out.Flush())
}

// headOf reads all of an entry but its body, and checks its hash.
func headOf(b []byte) (Entry, error) {
	if len(b) < minEntry || len(b) > maxEntry {
		return Entry{}, errFormat
	}
	if sum := sumOf(b); sum != hash(b[len(b)-len(hash{}):]) {
		return Entry{}, errHash
	}
	e, _, err := splitEntry(b)
	return e, err
}

// bundleParts reads the parts of a bundle, and checks their sizes before it reads them.
func bundleParts(r io.Reader) iter.Seq2[part, error] {
	return func(yield func(part, error) bool) {
		in := bufio.NewReaderSize(r, 256<<10)
		magic := make([]byte, len(bundleMagic))
		if _, err := io.ReadFull(in, magic); err != nil || string(magic) != bundleMagic {
			yield(part{}, fmt.Errorf("%w: it does not begin as one", ErrBundle))
			return
		}
		var buffer []byte
		for {
			var head [5]byte
			if _, err := io.ReadFull(in, head[:]); err != nil {
				yield(part{}, errors.New("the bundle is cut off"))
				return
			}
			kind, n := head[0], binary.BigEndian.Uint32(head[1:])
			limit, known := map[byte]uint32{'I': maxInfo, 'E': maxEntry, 'M': maxMarks, 'H': maxInfo, 'Z': 8}[kind]
			switch {
			case !known:
				yield(part{}, fmt.Errorf("%w: it has a part of the kind %q", ErrBundle, kind))
				return
			case n > limit:
				yield(part{}, fmt.Errorf("%w: a part of %d bytes is too large", ErrBundle, n))
				return
			}
			var err error
			if buffer, err = readN(in, buffer[:0], int(n)); err != nil {
				yield(part{}, errors.New("the bundle is cut off"))
				return
			}
			if !yield(part{kind, buffer}, nil) {
				return
			}
			if kind == 'Z' {
				if _, err := in.ReadByte(); err != io.EOF {
					yield(part{}, errors.New("something follows the bundle's end"))
				}
				return
			}
		}
	}
}

// part is one part of a bundle; its bytes are overwritten by the next one.
type part struct {
	kind byte
	b    []byte
}

// BundleReport is what the verification of a bundle found.
type BundleReport struct {
	Session string `json:"session"`
	Entries uint64 `json:"entries"`
	Closed  bool   `json:"closed"`
	Sealed  bool   `json:"sealed,omitempty"`
	// Signed is when the head was signed that stands behind the session, Key the public key, in hex; zero without one.
	Signed time.Time `json:"signed,omitzero"`
	Key    string    `json:"key,omitempty"`
	// Marks is how many sessions opened or ended after this one was opened, until the head was signed: their order is proved too.
	Marks    int      `json:"marks"`
	Problems []string `json:"problems,omitempty"`
}

// OK says whether nothing is wrong.
func (r BundleReport) OK() bool { return len(r.Problems) == 0 }

// VerifyBundle proves a bundle: that its entries are those of the session, all of them, in their order, as they were written,
// and that a head stands behind them which was signed with one of the keys (public, in hex; none: with any).
func VerifyBundle(r io.Reader, keys []string) (BundleReport, error) {
	v := bundleVerifier{keys: keys}
	for p, err := range bundleParts(r) {
		if err == nil {
			err = v.part(p)
		}
		if err != nil {
			if errors.Is(err, ErrBundle) {
				return v.report, err
			}
			v.wrong("%v", err)
			return v.report, nil
		}
	}
	return v.report, nil
}

type bundleVerifier struct {
	report        BundleReport
	keys          []string
	known         bool // there was the information
	ring          *bundleKey
	head          hash // of the session
	opened, ended hash
	before        hash // the node head in front of the session
	atEnd         hash // the node head in front of its end
	node          hash // what the marks come to
	marked        bool
}

func (v *bundleVerifier) wrong(format string, args ...any) {
	if len(v.report.Problems) < 20 {
		v.report.Problems = append(v.report.Problems, fmt.Sprintf(format, args...))
	}
}

func (v *bundleVerifier) part(p part) error {
	if !v.known && p.kind != 'I' {
		return fmt.Errorf("%w: it does not say what it is first", ErrBundle)
	}
	switch p.kind {
	case 'I':
		if v.known {
			return fmt.Errorf("%w: it says twice what it is", ErrBundle)
		}
		info, ring, err := readInfo(p.b)
		v.known, v.ring, v.report.Session, v.report.Sealed = true, ring, info.Session, info.Key == ""
		return err
	case 'E':
		return v.entry(p.b)
	case 'M':
		return v.marks(p.b)
	case 'H':
		return v.signed(p.b)
	case 'Z':
		if len(p.b) != 8 {
			return errors.New("its end is not well-formed")
		}
		if n := binary.BigEndian.Uint64(p.b); n != v.report.Entries {
			return fmt.Errorf("it says that it has %d entries, and has %d", n, v.report.Entries)
		}
		if v.report.Entries == 0 || !v.marked {
			return errors.New("it has no entries, or no marks")
		}
	}
	return nil
}

// entry names the first entry that is not as it was.
func (v *bundleVerifier) entry(b []byte) error {
	next := v.report.Entries + 1
	e, err := headOf(b)
	switch {
	case err != nil:
		return fmt.Errorf("entry %d was altered: %w", next, err)
	case e.Session != v.report.Session:
		return fmt.Errorf("entry %d is one of another session: it was inserted", next)
	case v.report.Closed:
		return fmt.Errorf("entry %d comes after the session's end: it was inserted", e.Number)
	case e.Number > next:
		return fmt.Errorf("entry %d is missing: entry %d stands in its place", next, e.Number)
	case e.Number < next:
		return fmt.Errorf("entry %d stands where entry %d should: it was inserted, or they were reordered", e.Number, next)
	case e.previous != v.head:
		return fmt.Errorf("entry %d does not follow from entry %d: one of them was altered", e.Number, next-1)
	case next == 1 && e.flags&flagNode == 0:
		return errors.New("entry 1 does not open a session")
	}
	if v.ring != nil && e.flags&flagSealed != 0 {
		if _, err := v.ring.events(b); err != nil {
			return fmt.Errorf("entry %d: %w", e.Number, err)
		}
	}
	v.report.Entries, v.head = next, e.hash
	if e.flags&flagNode != 0 {
		if next == 1 {
			v.opened, v.before = e.hash, e.node
		} else {
			v.report.Closed, v.ended, v.atEnd = true, e.hash, e.node
		}
	}
	return nil
}

func (v *bundleVerifier) marks(b []byte) error {
	size := len(hash{})
	if v.marked || len(b) < 2*size || len(b)%size != 0 {
		return errors.New("its marks are not well-formed")
	}
	v.marked = true
	if hash(b[:size]) != v.before || hash(b[size:2*size]) != v.opened {
		return errors.New("the session does not stand where its marks say: a session before it is missing, or was altered")
	}
	v.node = v.before
	ended := false
	for at := size; at < len(b); at += size {
		mark := hash(b[at : at+size])
		if v.report.Closed && mark == v.ended && v.node == v.atEnd {
			ended = true
		}
		v.node = advance(v.node, mark)
		v.report.Marks++
	}
	if v.report.Closed && !ended {
		return errors.New("the session does not end where its marks say: a session in between is missing, or was altered")
	}
	return nil
}

func (v *bundleVerifier) signed(b []byte) error {
	var h Head
	if err := json.Unmarshal(b, &h); err != nil || !v.marked || v.report.Key != "" {
		return errors.New("its signed head is not well-formed")
	}
	switch err := h.Check(); {
	case err != nil:
		return fmt.Errorf("its signed head: %w", err)
	case len(v.keys) > 0 && !slices.Contains(v.keys, h.Key):
		return fmt.Errorf("its head is signed with another key: %s", h.Key)
	case h.sum() != v.node:
		return errors.New("its marks do not come to the signed head: a session is missing, or was altered")
	}
	v.report.Signed, v.report.Key = h.Time, h.Key
	return nil
}

// bundleKey reads the entries of a bundle with the key in it.
type bundleKey struct{ seal *sealer }

func readInfo(b []byte) (info BundleInfo, _ *bundleKey, err error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&info); err != nil || info.Session == "" {
		return info, nil, fmt.Errorf("%w: what it is cannot be read", ErrBundle)
	}
	if info.Key == "" {
		return info, nil, nil
	}
	key, err := hex.DecodeString(info.Key)
	if err != nil || len(key) != keySize {
		return info, nil, fmt.Errorf("%w: its key is not 32 bytes in hex", ErrBundle)
	}
	s, err := newSealer(0, key)
	return info, &bundleKey{s}, err
}

func (k *bundleKey) events(b []byte) ([]Event, error) {
	e, rest, err := splitEntry(b)
	if err == nil {
		rest, err = bodyOf(e, rest, func() ([]byte, bool, error) { body, err := k.seal.open(rest, e.Session); return body, false, err })
	}
	if err != nil {
		return nil, err
	}
	return decodeEvents(rest)
}

// ReadBundle gives the entries of a bundle, in order. It does not prove it. An error is the last thing that it gives.
func ReadBundle(r io.Reader) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		var key *bundleKey
		known := false
		for p, err := range bundleParts(r) {
			var e Entry
			switch {
			case err != nil:
			case p.kind == 'I' && !known:
				known = true
				_, key, err = readInfo(p.b)
			case p.kind == 'E' && known:
				if e, err = headOf(p.b); err == nil && e.flags&flagSealed != 0 && key == nil {
					e.Erased = true
				} else if err == nil {
					k := key
					if k == nil {
						k = &bundleKey{}
					}
					e.Events, err = k.events(bytes.Clone(p.b))
				}
				if err == nil && !yield(e, nil) {
					return
				}
			}
			if err != nil {
				yield(Entry{}, err)
				return
			}
		}
	}
}
