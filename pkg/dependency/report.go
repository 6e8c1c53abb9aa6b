package dependency

import (
	"fmt"

	"keyturn/pkg/powershell"
)

// maxReports is how much of what is only reported is kept of one machine.
const maxReports = 50

// report keeps r, up to a limit that the last one tells of.
func (inv *Inventory) report(r Report) {
	switch {
	case len(inv.Reports) < maxReports:
		inv.Reports = append(inv.Reports, r)
	case len(inv.Reports) == maxReports:
		inv.Reports = append(inv.Reports, Report{Class: r.Class, Text: "there is more than is listed here"})
	}
}

// report reads a line about something that is told and never touched; false for
// any other line.
func report(line powershell.Line) (Report, bool) {
	r := Report{Name: text(line.ID)}
	name, runAs := text(line.Display), text(line.RunAs)
	switch line.Kind {
	case "process":
		r.Class = powershell.ClassUnmanagedProcess
		r.Text = fmt.Sprintf("process %d (%s) runs as %s, and nothing that is updated here explains it: it keeps the old password",
			pid(line.PID), name, runAs)
	case powershell.ClassCOMPlus:
		r.Class = powershell.ClassCOMPlus
		r.Text = fmt.Sprintf("the COM+ application %q runs as %s: set its password in Component Services", r.Name, runAs)
	case powershell.ClassDCOM:
		r.Class = powershell.ClassDCOM
		r.Text = fmt.Sprintf("the DCOM server %q (%s) runs as %s: set its password with dcomcnfg", name, r.Name, runAs)
	case "iis_shared":
		r.Class = powershell.ClassSharedConfig
		r.Text = fmt.Sprintf("IIS takes its configuration from %s, which other machines read too: "+
			"its passwords are not changed here", r.Name)
	case "elsewhere":
		r.Class = powershell.ClassElsewhere
		r.Text = fmt.Sprintf("%s stores the password of %s: set it there", r.Name, runAs)
	default:
		return Report{}, false
	}
	r.Text += " (" + r.Class + ")"
	return r, true
}
