package winrm

import (
	"fmt"
	"net/http"
	"strings"

	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
)

// The fault codes that change what is done next, as Windows numbers them.
const (
	codeTimedOut     = "2150858793" // nothing to report yet: ask again
	codeQuota        = "2150859174" // 0x803381A6: this shell has used up its operations
	codeShells       = "2150859173" // 0x803381A5: this user has as many shells as he may (MaxShellsPerUser)
	codeAccessDenied = "5"
	codePipeEnded    = "109"        // input for a command that has ended
	codePipeClosing  = "232"        // or is ending
	codeSelectors    = "2150858843" // there is no such shell, or command (any more)
)

// A Fault is a refusal in the words of the machine, or a status without words.
// Its texts are cleaned and cut when it is made.
type Fault struct {
	Status  int    // of HTTP
	Subcode string // of SOAP: "w:TimedOut"
	Code    string // of WSManFault: "2150858793"
	Reason  string
}

// Error quotes the machine's words, so that they cannot pass for ours.
func (f *Fault) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "the machine answered with status %d", f.Status)
	if f.Subcode != "" {
		fmt.Fprintf(&b, ", fault %s", f.Subcode)
	}
	if f.Code != "" {
		fmt.Fprintf(&b, ", code %s", f.Code)
	}
	if f.Reason != "" {
		fmt.Fprintf(&b, ": %q", f.Reason)
	}
	return b.String()
}

// typed is what a fault means where a session is opened: a user who may log in
// but not use WinRM has not a wrong password.
func (f *Fault) typed(op string) *remote.Error {
	if f.Status == http.StatusForbidden || f.Code == codeAccessDenied {
		return failure(pam.ErrAuthFailed, op, fmt.Errorf("%w: %w", f, remote.ErrInconclusive))
	}
	if f.Code == codeShells {
		return failure(pam.ErrUnreachable, op, fmt.Errorf("%w; the account that logs in has as many shells there as Windows allows: "+
			"those that were left behind end by themselves, and \"winrm enumerate shell\" lists them", f))
	}
	return failure(pam.ErrIO, op, f)
}

// gone reports that the machine does not know the command.
func (f *Fault) gone() bool { return f.Code == codeSelectors }

// pipeEnded reports that nobody reads the input: the command ended without it.
func (f *Fault) pipeEnded() bool { return f.Code == codePipeEnded || f.Code == codePipeClosing }

// timedOut reports that the operation came to its own end of patience.
func (f *Fault) timedOut() bool { return f.Code == codeTimedOut }
