package winrm

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"strings"
	"unicode/utf16"

	"golang.org/x/crypto/md4" //nolint:staticcheck // NTLM is made of it
)

// authenticate answers the log-in, or reports that the connection or the
// request is logged in.
func (f *fake) authenticate(w http.ResponseWriter, r *http.Request) bool {
	st, _ := r.Context().Value(connKey{}).(*connState)
	st.mu.Lock()
	defer st.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	name, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if name == "" && st.loggedIn {
		return true
	}
	offered := strings.Contains(strings.Join(f.offers, " "), name)
	switch raw, err := base64.StdEncoding.DecodeString(token); {
	case name == "":
		f.anonymous++
	case err != nil || !offered:
		f.refused++
	case name == "Basic":
		if string(raw) == fakeUser+":"+fakePassword {
			if !st.loggedIn {
				f.accepted++
			}
			st.loggedIn = true
			r.Header.Del("Authorization")
			return true
		}
		f.refused++
	case len(raw) > 12 && raw[8] == 1:
		f.handshakes++
		st.challenge = make([]byte, 8)
		_, _ = rand.Read(st.challenge)
		w.Header().Set("WWW-Authenticate", name+" "+base64.StdEncoding.EncodeToString(challengeMessage(st.challenge)))
		w.WriteHeader(http.StatusUnauthorized)
		return false
	case len(raw) > 64 && raw[8] == 3:
		st.loggedIn = st.challenge != nil && rightProof(raw, st.challenge)
		st.challenge = nil
		if st.loggedIn {
			f.accepted++
			return true
		}
		f.refused++
	}
	for _, o := range f.offers {
		w.Header().Add("WWW-Authenticate", o)
	}
	w.WriteHeader(http.StatusUnauthorized)
	return false
}

func utf16le(s string) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

// challengeMessage is MS-NLMP's CHALLENGE_MESSAGE as a member server sends it.
func challengeMessage(nonce []byte) []byte {
	var info []byte
	for id, v := range map[uint16][]byte{1: utf16le("SRV1"), 2: utf16le("LAB"), 7: {1, 2, 3, 4, 5, 6, 7, 8}} {
		info = binary.LittleEndian.AppendUint16(info, id)
		info = binary.LittleEndian.AppendUint16(info, uint16(len(v)))
		info = append(info, v...)
	}
	info = append(info, 0, 0, 0, 0)
	b := append([]byte("NTLMSSP\x00"), 2, 0, 0, 0)
	b = append(b, make([]byte, 8)...)
	b = binary.LittleEndian.AppendUint32(b, 0x00808201|1<<19|1<<29|1<<31)
	b = append(append(b, nonce...), make([]byte, 8)...)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(info)))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(info)))
	b = binary.LittleEndian.AppendUint32(b, 48)
	return append(b, info...)
}

func field(b []byte, at int) []byte {
	n, off := int(binary.LittleEndian.Uint16(b[at:])), int(binary.LittleEndian.Uint32(b[at+4:]))
	if off+n > len(b) {
		return nil
	}
	return b[off : off+n]
}

func hmacMD5(key []byte, parts ...[]byte) []byte {
	h := hmac.New(md5.New, key)
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}

// rightProof checks an AUTHENTICATE_MESSAGE as NTLMv2 does, for fakeUser.
func rightProof(b, nonce []byte) bool {
	nt, domain, user := field(b, 20), field(b, 28), field(b, 36)
	wantDomain, wantUser, _ := strings.Cut(fakeUser, `\`)
	if len(nt) < 16 || !bytes.Equal(user, utf16le(wantUser)) || !bytes.Equal(domain, utf16le(wantDomain)) {
		return false
	}
	h := md4.New()
	h.Write(utf16le(fakePassword))
	key := hmacMD5(h.Sum(nil), utf16le(strings.ToUpper(wantUser)+wantDomain))
	return hmac.Equal(nt[:16], hmacMD5(key, nonce, nt[16:]))
}
