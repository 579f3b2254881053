package record

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"gatehouse/internal/record/faultfs"
)

// headsName is the file of a folder's signed heads: a line of JSON each, appended.
const headsName = "heads.jsonl"

// Head is a node head that the gateway has signed: the sessions that were opened and ended until then, in their order, are
// those of the journal. Kept elsewhere, it proves later that the journal was not cut short or written anew.
type Head struct {
	// Head is the node head, in hex.
	Head string `json:"head"`
	// Segment is the segment that was written then.
	Segment uint64    `json:"segment"`
	Time    time.Time `json:"time"` // in microseconds
	// Key is the Ed25519 public key (RFC 8032), in hex; Signature is over what Signed gives, in hex.
	Key       string `json:"key"`
	Signature string `json:"signature"`
}

// Signed is what is signed: "gatehouse head 1\n", the head [32], the segment u64, the time i64 (microseconds since 1970 UTC),
// big-endian.
func (h Head) Signed() ([]byte, error) {
	head, err := hex.DecodeString(h.Head)
	if err != nil || len(head) != len(hash{}) {
		return nil, errors.New("its head is not 32 bytes in hex")
	}
	b := append([]byte("gatehouse head 1\n"), head...)
	b = binary.BigEndian.AppendUint64(b, h.Segment)
	return binary.BigEndian.AppendUint64(b, uint64(h.Time.UnixMicro())), nil
}

// Check says what is wrong with the signature.
func (h Head) Check() error {
	text, err := h.Signed()
	if err != nil {
		return err
	}
	key, err := hex.DecodeString(h.Key)
	if err != nil || len(key) != ed25519.PublicKeySize {
		return errors.New("its key is not 32 bytes in hex")
	}
	signature, err := hex.DecodeString(h.Signature)
	if err != nil || !ed25519.Verify(key, text, signature) {
		return errors.New("its signature does not fit")
	}
	return nil
}

func (h Head) sum() (s hash) {
	b, _ := hex.DecodeString(h.Head)
	copy(s[:], b)
	return s
}

// Heads are the signed heads of a folder, the oldest first, as they stand: they are not checked. That the last line is not
// whole is no error.
func Heads(dir string) ([]Head, error) {
	list, err := ReadHeads(filepath.Join(dir, headsName))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return list, err
}

// ReadHeads are the signed heads of a file.
func ReadHeads(path string) ([]Head, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parseHeads(b)
}

func parseHeads(b []byte) ([]Head, error) {
	var out []Head
	for n := 1; ; n++ {
		line, rest, whole := bytes.Cut(b, []byte("\n"))
		if !whole {
			return out, nil
		}
		var h Head
		if err := json.Unmarshal(line, &h); err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", headsName, n, err)
		}
		out, b = append(out, h), rest
	}
}

// openHeads opens the file of heads to add some; a line that a crash tore is cut off.
func openHeads(dir string, fs faultfs.FS) (faultfs.File, hash, error) {
	path := filepath.Join(dir, headsName)
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		f, err := fs.Create(path)
		if err == nil {
			err = syncDir(dir)
		}
		return f, hash{}, err
	} else if err != nil {
		return nil, hash{}, err
	}
	list, err := parseHeads(b)
	if err != nil {
		return nil, hash{}, err
	}
	if end := bytes.LastIndexByte(b, '\n') + 1; end < len(b) {
		if err := os.Truncate(path, int64(end)); err != nil {
			return nil, hash{}, err
		}
	}
	var last hash
	if len(list) > 0 {
		last = list[len(list)-1].sum()
	}
	f, err := fs.Append(path)
	return f, last, err
}

// sign signs the node head as it is now, once what it stands on is on the disk. The same head is not signed twice.
func (j *Journal) sign() error {
	if j.o.Signer == nil {
		return nil
	}
	j.signing.Lock()
	defer j.signing.Unlock()
	j.mu.Lock()
	head, segment, target := j.node, j.seq, j.written
	j.mu.Unlock()
	if head == j.signed || head == (hash{}) {
		return nil
	}
	if err := j.sync(target); err != nil {
		return err
	}
	h := Head{Head: hex.EncodeToString(head[:]), Segment: segment, Time: j.o.Now().UTC().Truncate(time.Microsecond), Key: hex.EncodeToString(j.o.Signer.Public().(ed25519.PublicKey))}
	text, err := h.Signed()
	if err != nil {
		return err
	}
	h.Signature = hex.EncodeToString(ed25519.Sign(j.o.Signer, text))
	line, err := json.Marshal(h)
	if err != nil {
		return err
	}
	if line = append(line, '\n'); err == nil {
		var n int
		if n, err = j.heads.Write(line); err == nil && n < len(line) {
			err = fmt.Errorf("%d of %d bytes of a signed head were written", n, len(line))
		}
	}
	if err == nil {
		err = j.heads.Sync()
	}
	if err != nil {
		j.mu.Lock()
		defer j.mu.Unlock()
		return j.poison(err)
	}
	j.signed = head
	return nil
}

// signer signs heads at intervals.
func (j *Journal) signer() {
	tick := time.NewTicker(j.o.SignInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			j.sign() // an error has poisoned the journal
		case <-j.closing:
			return
		}
	}
}

// heads holds a journal against the heads that were signed of it, those of its folder and those that were kept elsewhere.
func (v *verifier) heads(own, kept []Head, keys []string) {
	first, last := uint64(1), uint64(0)
	if v.first != nil {
		first, last = v.first.seq, v.segment.seq
	}
	var ahead *Head // of those that stand on segments that are not here, the last one
	for i, h := range slices.Concat(own, kept) {
		what := fmt.Sprintf("the head that was signed at %s", h.Time.Format(time.RFC3339))
		if i >= len(own) {
			what += " and kept elsewhere"
		}
		wrong := func(why string) {
			if len(v.report.Problems) < 100 {
				v.report.Problems = append(v.report.Problems, what+": "+why)
			}
		}
		switch err := h.Check(); {
		case err != nil:
			wrong(err.Error())
		case len(keys) > 0 && !slices.Contains(keys, h.Key):
			wrong("it is signed with another key: " + h.Key)
		case h.Segment < first: // what it stood on was taken away
		case v.shipped && h.Segment > last && !v.seen[h.sum()]:
			if ahead == nil || h.Segment >= ahead.Segment {
				ahead = &h
			}
		case !v.seen[h.sum()]:
			wrong("these recordings do not come to it: sessions at their end are missing, or were changed")
		default:
			v.report.Heads++
			v.report.Signed = h.Time
			if !slices.Contains(v.report.Keys, h.Key) {
				v.report.Keys = append(v.report.Keys, h.Key)
			}
		}
	}
	switch {
	case ahead == nil:
	case ahead.Segment > last+1:
		v.report.Problems = append(v.report.Problems, fmt.Sprintf("segments %d to %d are missing: the head that was signed at %s stands on %d, and is shipped after all before it", last+1, ahead.Segment-1, ahead.Time.Format(time.RFC3339), ahead.Segment))
	default:
		v.report.Notes = append(v.report.Notes, fmt.Sprintf("heads up to %s stand on segment %d, which had not ended when they were shipped: until it is here, nothing shows what it holds", ahead.Time.Format(time.RFC3339), ahead.Segment))
	}
}
