package directory

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"sync"

	"github.com/go-ldap/ldap/v3"

	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
)

// A refusal is a controller's no: the result code of LDAP, the error of Windows
// in front of its text, and the reason of a refused log-in after "data".
type refusal struct {
	code   uint16
	win32  uint32 // 0: none was given
	reason uint32 // of a bind; 0: none was given
	text   string // cleaned
}

// Error shows the codes, and the controller's text as it may be shown.
func (r *refusal) Error() string {
	s := fmt.Sprintf("the controller answered LDAP code %d", r.code)
	if r.win32 != 0 {
		s += fmt.Sprintf(", %08X", r.win32)
	}
	if r.text != "" {
		s += fmt.Sprintf(" (%s)", r.text)
	}
	return s
}

// Compiled when a controller first refuses something: commands start without.
var (
	win32Pattern  = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^([0-9A-Fa-f]{8}):`) })
	reasonPattern = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\bdata ([0-9A-Fa-f]{1,8})\b`) })
)

// resultOf is the result code that a controller answered; false when err is a
// failure of the connection or of the library.
func resultOf(err error) (uint16, bool) {
	e, ok := errors.AsType[*ldap.Error](err)
	if !ok || e.ResultCode == ldap.LDAPResultSuccess || e.ResultCode >= ldap.ErrorNetwork {
		return 0, false
	}
	return e.ResultCode, true
}

func refusalOf(err error) (*refusal, bool) {
	code, ok := resultOf(err)
	if !ok {
		return nil, false
	}
	text := ""
	if e, _ := errors.AsType[*ldap.Error](err); e.Err != nil {
		text = e.Err.Error()
	}
	return &refusal{
		code: code, win32: hexIn(win32Pattern(), text), reason: hexIn(reasonPattern(), text), text: remote.Clean(text),
	}, true
}

func hexIn(pattern *regexp.Regexp, text string) uint32 {
	m := pattern.FindStringSubmatch(text)
	if m == nil {
		return 0
	}
	n, err := strconv.ParseUint(m[1], 16, 32)
	if err != nil {
		return 0
	}
	return uint32(n)
}

// The reasons of a refused log-in, as Windows puts them after "data".
const (
	reasonWrong       = 0x52e // password wrong
	reasonNoUser      = 0x525
	reasonHours       = 0x530
	reasonWorkstation = 0x531
	reasonPWExpired   = 0x532
	reasonDisabled    = 0x533
	reasonExpired     = 0x701 // the account
	reasonMustChange  = 0x773
	reasonLocked      = 0x775
)

var reasons = map[uint32]string{
	reasonWrong:       "the name or the password is wrong",
	reasonNoUser:      "there is no such user",
	reasonHours:       "the account may not log on at this time",
	reasonWorkstation: "the account may not log on from this computer",
	reasonPWExpired:   "the password has expired",
	reasonDisabled:    "the account is disabled",
	reasonExpired:     "the account has expired",
	reasonMustChange:  "the password must be changed first",
	reasonLocked:      "the account is locked out",
}

// verdict is what a refused log-on says of its password. All but "wrong" and
// "locked" are said only to who knows it.
func (r *refusal) verdict() pam.Verdict {
	if r.code != ldap.LDAPResultInvalidCredentials {
		return pam.VerdictCannotTell
	}
	switch r.reason {
	case reasonWrong, reasonNoUser, 0:
		return pam.VerdictWrong
	case reasonHours, reasonWorkstation, reasonPWExpired, reasonDisabled, reasonExpired, reasonMustChange:
		return pam.VerdictRestricted
	}
	return pam.VerdictCannotTell
}

// asLogIn is the refusal of an admin's log-in, for people.
func (r *refusal) asLogIn() error {
	var err error = r
	if text, ok := reasons[r.reason]; ok {
		err = fmt.Errorf("%s: %w", text, r)
	}
	if r.verdict() != pam.VerdictWrong {
		err = fmt.Errorf("%w: %w", err, remote.ErrInconclusive)
	}
	return err
}
