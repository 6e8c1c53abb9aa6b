package job

// Why an item stands as it does, where it is the job that decides; what a machine
// or its plan says has its reasons in dependency and powershell. Every one is
// told of in docs/windows.md.
const (
	reasonDisabled      = "disabled"         // somebody switched its machine or user off
	reasonOutsideWindow = "outside_window"   // its restart waits for the account's window
	reasonTooManyFailed = "too_many_failed"  // more failed than the account's limit allows
	reasonRefused       = "password_refused" // the new password was refused, or no failed log-on is to spare
	reasonGone          = "gone"             // it is no longer on the machine
	reasonRestarted     = "restarted_since"  // it runs in another process than it was left in
	reasonStopped       = "no longer running: not restarted"
	reasonRecycled      = "recycled by the change of its configuration"
	reasonNotNeeded     = "not restarted: nothing it needs was"
	reasonRepaired      = "restarted before the cut or by its repair"
	reasonLater         = "reached later"
	reasonSuperseded    = "superseded" // a later job has the rest of it
	reasonNothing       = "nothing runs as the account"
)
