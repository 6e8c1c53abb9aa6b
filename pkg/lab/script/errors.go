package script

import (
	"errors"
	"fmt"

	"keyturn/pkg/lab/model"
	"keyturn/pkg/powershell"
)

// classes are the classes of Windows error codes.
var classes = map[uint32]string{
	2: powershell.ClassNotFound, 3: powershell.ClassNotFound, 5: powershell.ClassAccessDenied,
	86: powershell.ClassRejected, 87: powershell.ClassInvalidParameter,
	1051: powershell.ClassDependentsBlocked, 1052: powershell.ClassNotStoppable, 1053: powershell.ClassStartTimeout,
	1055: powershell.ClassDatabaseLocked, 1056: powershell.ClassAlreadyRunning, 1057: powershell.ClassInvalidAccount,
	1058: powershell.ClassDisabled, 1060: powershell.ClassNotFound, 1061: powershell.ClassTransitioning,
	1062: powershell.ClassNotRunning, 1067: powershell.ClassDied, 1068: powershell.ClassDependencyFailed,
	1069: powershell.ClassServiceLogon, 1072: powershell.ClassMarkedForDelete, 1079: powershell.ClassAccountDiffers,
	1168: powershell.ClassNotFound, 1311: powershell.ClassNoLogonServer, 1312: powershell.ClassStorageDisabled,
	1317: powershell.ClassNotFound, 1325: powershell.ClassPasswordPolicy, 1326: powershell.ClassRejected,
	1327: powershell.ClassAccountRestricted, 1328: powershell.ClassAccountRestricted, 1329: powershell.ClassAccountRestricted,
	1330: powershell.ClassAccountExpiredPW, 1331: powershell.ClassAccountDisabled, 1332: powershell.ClassInvalidAccount,
	1355: powershell.ClassNoLogonServer, 1385: powershell.ClassRightMissing, 1787: powershell.ClassNoLogonServer,
	1789: powershell.ClassNoLogonServer, 1793: powershell.ClassAccountExpired, 1907: powershell.ClassAccountExpiredPW,
	1909: powershell.ClassAccountLocked, 2221: powershell.ClassNotFound, 2242: powershell.ClassAccountExpiredPW,
	2243: powershell.ClassPasswordPolicy, 2244: powershell.ClassPasswordPolicy, 2245: powershell.ClassPasswordPolicy,
	2246: powershell.ClassPasswordPolicy,
}

// comClasses are the classes of HRESULTs that are no Windows error codes.
var comClasses = map[model.HResult]string{
	0x80090016: powershell.ClassIISKeyAccess, 0x8009000D: powershell.ClassIISKeyAccess,
	0x80041315: powershell.ClassTaskServiceDown, 0x80041322: powershell.ClassTaskServiceDown,
	0x800706BA: powershell.ClassTaskServiceDown, 0x80041316: powershell.ClassTaskXMLInvalid,
	0x80041317: powershell.ClassTaskXMLInvalid, 0x80041318: powershell.ClassTaskXMLInvalid,
	0x80041319: powershell.ClassTaskXMLInvalid, 0x8004131A: powershell.ClassTaskXMLInvalid,
}

// changeClasses are the classes of what Win32_Service.Change returns.
var changeClasses = map[int]string{
	2: powershell.ClassAccessDenied, 3: powershell.ClassDependentsBlocked, 11: powershell.ClassDatabaseLocked,
	15: powershell.ClassServiceLogon, 16: powershell.ClassMarkedForDelete, 21: powershell.ClassInvalidParameter,
	22: powershell.ClassInvalidAccount,
}

func classOf(code uint32) string {
	if c, ok := classes[code]; ok {
		return c
	}
	return powershell.ClassUnknown
}

func failure(class string, native uint32, format string, args ...any) *powershell.Err {
	return &powershell.Err{Class: class, Native: int64(native), Msg: fmt.Sprintf(format, args...)}
}

// codeError is the error of a Windows code.
func codeError(code model.Errno) *powershell.Err {
	return failure(classOf(uint32(code)), uint32(code), "%s", code.Error())
}

// errorOf is the error of a failed call; class is taken when it has none of its own.
func errorOf(err error, class string) *powershell.Err {
	e := failure(powershell.ClassUnknown, 0, "%s", err.Error())
	if code, ok := errors.AsType[model.Errno](err); ok {
		e = codeError(code)
	}
	if hr, ok := errors.AsType[model.HResult](err); ok {
		e.HResult = fmt.Sprintf("0x%08X", uint32(hr))
		if c, ok := comClasses[hr]; ok {
			e.Class = c
		} else if uint32(hr)>>16 == 0x8007 {
			e.Native = int64(hr & 0xffff)
			e.Class = classOf(uint32(hr & 0xffff))
		}
	}
	if e.Class == powershell.ClassUnknown && class != "" {
		e.Class = class
	}
	return e
}
