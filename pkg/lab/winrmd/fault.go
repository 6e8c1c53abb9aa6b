package winrmd

import (
	"bytes"
	"fmt"
)

// A FaultCode names a fault of the service.
type FaultCode string

// The faults. Texts and codes of selectors, timed_out, parameter and not_found
// are those of recordings of real machines; the others are as documented.
const (
	FaultInternal   FaultCode = "internal"    // 1359, an internal error
	FaultShell      FaultCode = "shell"       // the shell does not exist
	FaultCommand    FaultCode = "command"     // the command does not exist
	FaultTimedOut   FaultCode = "timed_out"   // no output within the operation timeout
	FaultParameter  FaultCode = "parameter"   // 87
	FaultNotFound   FaultCode = "not_found"   // no such program
	FaultTooLong    FaultCode = "too_long"    // the command line
	FaultAborted    FaultCode = "aborted"     // 995: terminated while a Receive waited
	FaultPipe       FaultCode = "pipe"        // 109: input for a command that has ended
	FaultBusy       FaultCode = "busy"        // 170: the same request may succeed later
	FaultShells     FaultCode = "shells"      // quota of shells
	FaultOperations FaultCode = "operations"  // quota of operations
	FaultAction     FaultCode = "action"      // an action the service does not know
	FaultEnvelope   FaultCode = "bad_message" // not a WS-Management message
)

type fault struct {
	code     string // SOAP 1.2: s:Sender or s:Receiver
	subcode  string
	number   uint32
	reason   string
	detail   string // w:FaultDetail, or ""
	message  string // of f:WSManFault; "" repeats the reason
	provider bool   // the message comes from the shell's plug-in
}

const faultDetail = "http://schemas.dmtf.org/wbem/wsman/1/wsman/faultDetail/"

func selectors(message string) fault {
	return fault{
		code: "s:Sender", subcode: "w:InvalidSelectors", number: 2150858843,
		reason: "The WS-Management service cannot process the request because the request contained invalid selectors " +
			"for the resource. ",
		detail: faultDetail + "UnexpectedSelectors", message: message,
	}
}

func internal(number uint32, reason string) fault {
	return fault{code: "s:Receiver", subcode: "w:InternalError", number: number, reason: reason, provider: true}
}

func quota(number uint32, reason string) fault {
	return fault{code: "s:Receiver", subcode: "w:QuotaLimit", number: number, reason: reason}
}

// faultOf returns the fault of a code. The shell's id appears in one text.
func faultOf(c FaultCode, shellID string) fault {
	switch c {
	case FaultShell:
		return selectors(fmt.Sprintf("The request for the Windows Remote Shell with ShellId %s failed because the shell "+
			"was not found on the server. Possible causes are: the specified ShellId is incorrect or the shell no longer "+
			"exists on the server. Provide the correct ShellId or create a new shell and retry the operation. ", shellID))
	case FaultCommand:
		return selectors("The Windows Remote Shell received a request to perform an operation on a command identifier " +
			"that does not exist. Either the command has completed execution or the client specified an invalid command " +
			"identifier. ")
	case FaultTimedOut:
		return fault{
			code: "s:Receiver", subcode: "w:TimedOut", number: 2150858793,
			reason: "The WS-Management service cannot complete the operation within the time specified in OperationTimeout.  ",
		}
	case FaultParameter:
		return fault{
			code: "s:Sender", subcode: "w:InvalidParameter", number: 87, reason: "The parameter is incorrect. ",
			detail: faultDetail + "InvalidValue", provider: true,
		}
	default:
		return rareFault(c)
	}
}

func rareFault(c FaultCode) fault {
	switch c {
	case FaultNotFound:
		return internal(2147942402, "The system cannot find the file specified. ")
	case FaultTooLong:
		return internal(2147942606, "The filename or extension is too long. ")
	case FaultAborted:
		return internal(995, "The I/O operation has been aborted because of either a thread exit or an application request. ")
	case FaultPipe:
		return internal(109, "The pipe has been ended. ")
	case FaultBusy:
		return internal(170, "The requested resource is in use. ")
	case FaultShells:
		return quota(2150859173, fmt.Sprintf("The WS-Management service cannot process the request. This user is allowed a "+
			"maximum number of %d concurrent shells, which has been exceeded. Close existing shells or raise the quota for "+
			"this user. ", maxShells))
	case FaultOperations:
		return quota(2150859174, "The WS-Management service cannot process the request. The maximum number of concurrent "+
			"operations for this user has been exceeded. Close existing operations for this user, or raise the quota for "+
			"this user. ")
	case FaultAction:
		return fault{
			code: "s:Sender", subcode: "a:ActionNotSupported", number: 2150858754,
			reason: "The action is not supported by the service. ",
		}
	case FaultEnvelope:
		return fault{
			code: "s:Sender", subcode: "w:SchemaValidationError", number: 2150858817,
			reason: "The SOAP XML in the message does not match the corresponding XML schema definition. Change the XML and retry. ",
		}
	default:
		return internal(1359, "An internal error occurred. ")
	}
}

// body renders the fault as the content of a SOAP body.
func (f fault) body(machine string) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, `<s:Fault><s:Code><s:Value>%s</s:Value><s:Subcode><s:Value>%s</s:Value></s:Subcode></s:Code>`, f.code, f.subcode)
	fmt.Fprintf(&b, `<s:Reason><s:Text xml:lang="en-US">%s</s:Text></s:Reason><s:Detail>`, escape(f.reason))
	if f.detail != "" {
		fmt.Fprintf(&b, `<w:FaultDetail>%s</w:FaultDetail>`, f.detail)
	}
	fmt.Fprintf(&b, `<f:WSManFault xmlns:f="http://schemas.microsoft.com/wbem/wsman/1/wsmanfault" Code="%d" Machine="%s"><f:Message>`,
		f.number, escape(machine))
	message := f.message
	if message == "" {
		message = f.reason
	}
	if f.provider {
		fmt.Fprintf(&b, `<f:ProviderFault provider="Shell cmd plugin" path="%%systemroot%%\system32\winrscmd.dll">%s</f:ProviderFault>`,
			escape(message))
	} else {
		b.WriteString(escape(message))
	}
	b.WriteString(`</f:Message></f:WSManFault></s:Detail></s:Fault>`)
	return b.String()
}
