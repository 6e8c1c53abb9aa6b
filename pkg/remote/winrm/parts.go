package winrm

import "encoding/base64"

// inputParts are bytes in several places, one after another: the largest of a frame is
// the same for all machines, and is not copied for each.
type inputParts [][]byte

func (p inputParts) size() (n int) {
	for _, b := range p {
		n += len(b)
	}
	return n
}

// cut returns the first n bytes, or all there are, and the rest.
func (p inputParts) cut(n int) (head, tail inputParts) {
	for i, b := range p {
		if len(b) > n {
			return append(head, b[:n]), append(inputParts{b[n:]}, p[i+1:]...)
		}
		head, n = append(head, b), n-len(b)
	}
	return head, nil
}

// appendBase64 appends the parts to out as one base64 text. What is carried over
// from one to the next is cleared.
func (p inputParts) appendBase64(out []byte) []byte {
	var carry [3]byte
	n := 0
	for _, b := range p {
		if n > 0 {
			taken := copy(carry[n:], b)
			n, b = n+taken, b[taken:]
			if n < len(carry) {
				continue
			}
			out = base64.StdEncoding.AppendEncode(out, carry[:])
		}
		whole := len(b) / len(carry) * len(carry)
		out = base64.StdEncoding.AppendEncode(out, b[:whole])
		n = copy(carry[:], b[whole:])
	}
	out = base64.StdEncoding.AppendEncode(out, carry[:n])
	clear(carry[:])
	return out
}
