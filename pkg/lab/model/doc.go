// Package model is the lab's model of Windows: a domain, and machines with
// their accounts, services, scheduled tasks, application pools and processes,
// as far as stored passwords and restarts go.
//
// It is a simulation for tests and for the practice lab. It knows no transport,
// no script and no product package but pkg/secret; protocol.md is how stand-ins
// reach it over a socket. All types are safe for concurrent use.
package model

import (
	"errors"
	"fmt"
)

// ErrCut is what every call on a machine returns while it is cut off.
var ErrCut = errors.New("the machine is cut off")

// An Errno is a Win32 error code as the failure of a call.
type Errno uint32

// Error names the code.
func (e Errno) Error() string { return fmt.Sprintf("windows error %d", uint32(e)) }

// HResult is the code as a COM call reports it.
func (e Errno) HResult() HResult { return HResult(0x80070000 | uint32(e)&0xffff) }

// An HResult is a COM failure.
type HResult uint32

// Error names the code.
func (h HResult) Error() string { return fmt.Sprintf("hresult 0x%08X", uint32(h)) }

// The Win32 codes the model uses.
const (
	OK                  Errno = 0
	AccessDenied        Errno = 5
	InvalidParameter    Errno = 87
	WrongOldPassword    Errno = 86
	DependentsRunning   Errno = 1051
	InvalidControl      Errno = 1052
	ServiceNoAnswer     Errno = 1053
	AlreadyRunning      Errno = 1056
	ServiceDisabled     Errno = 1058
	CircularDependency  Errno = 1059
	ServiceNotFound     Errno = 1060
	CannotAcceptControl Errno = 1061
	NotActive           Errno = 1062
	ProcessAborted      Errno = 1067
	DependencyFailed    Errno = 1068
	ServiceLogonFailed  Errno = 1069
	MarkedForDelete     Errno = 1072
	DifferentAccount    Errno = 1079
	NoLogonServers      Errno = 1311
	LogonFailure        Errno = 1326
	PasswordExpired     Errno = 1330
	AccountDisabled     Errno = 1331
	NoneMapped          Errno = 1332
	LogonTypeNotGranted Errno = 1385
	NoSuchLogonSession  Errno = 1312
	NoSuchPrivilege     Errno = 1313
	AccountExpired      Errno = 1793
	MustChangePassword  Errno = 1907
	AccountLocked       Errno = 1909
	NoSuchUser          Errno = 2221
	PasswordPolicy      Errno = 2245
)

// The HRESULTs the model uses.
const (
	NotFoundHR           HResult = 0x80070002
	AlreadyExistsHR      HResult = 0x800700B7
	InvalidArgumentHR    HResult = 0x80070057
	LogonFailureHR       HResult = 0x8007052E
	NoneMappedHR         HResult = 0x80070534
	NoStoredPasswordHR   HResult = 0x80070520
	NotActiveHR          HResult = 0x80070426
	KeysetMissingHR      HResult = 0x80090016
	MalformedXMLHR       HResult = 0x8004131A
	TaskServiceMissingHR HResult = 0x80041315
)

// The types of LogonUser.
const (
	LogonNetwork = 3
	LogonBatch   = 4
	LogonService = 5
)
