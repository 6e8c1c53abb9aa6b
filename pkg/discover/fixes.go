package discover

import (
	"errors"
	"strings"

	"keyturn/pkg/pam"
	"keyturn/pkg/powershell"
	"keyturn/pkg/remote"
)

// What helps on the machine itself; an administrator types it there.
const (
	// A local account that is not the built-in Administrator has a filtered token
	// over the network unless this is set.
	fixFilteredToken = `reg add HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Policies\System ` +
		`/v LocalAccountTokenFilterPolicy /t REG_DWORD /d 1 /f`
	fixLanguage = "$ExecutionContext.SessionState.LanguageMode; allow the script in AppLocker or WDAC, by the digest that " +
		`"keyturn help windows-command" prints`
	fixStorage   = `reg add HKLM\SYSTEM\CurrentControlSet\Control\Lsa /v DisableDomainCreds /t REG_DWORD /d 0 /f`
	fixWinRM     = "Enable-PSRemoting -Force; winrm quickconfig -transport:https"
	fixFirewall  = `New-NetFirewallRule -DisplayName "WinRM HTTPS" -Direction Inbound -Protocol TCP -LocalPort 5986 -Action Allow`
	fixNegotiate = `Set-Item WSMan:\localhost\Service\Auth\Negotiate $true`
	fixWinSSH    = "Add-WindowsCapability -Online -Name OpenSSH.Server~~~~0.0.1.0; " +
		"Set-Service sshd -StartupType Automatic; Start-Service sshd"
	fixCluster  = "Stop-ClusterResource NAME; Start-ClusterResource NAME"
	fixLDAPS    = "give the domain controller a certificate for server authentication: it then answers LDAPS at port 636"
	fixLinuxSSH = "systemctl enable --now sshd (ssh on Debian and Ubuntu)"
)

// fixFor is what helps when a check fails.
func fixFor(m pam.Machine, failed CheckName, err error) string {
	hint := pam.HintOf(err)
	switch failed {
	case CheckReach:
		return reachFix(m, hint)
	case CheckTrust:
		if m.IsWindows() && m.Transport == pam.WinRM && m.ServerPin == "" {
			return both(hint, "or give the listener a certificate that is trusted: Get-ChildItem WSMan:\\localhost\\Listener")
		}
		return hint
	case CheckLogIn:
		if m.Transport == pam.WinRM && errors.Is(err, remote.ErrInconclusive) {
			return both(hint, "on the machine: "+fixNegotiate)
		}
		return hint
	case CheckLanguage:
		if fatal, ok := errors.AsType[*powershell.FatalError](err); ok {
			return powershell.Explain(fatal.Class)
		}
		return hint
	default:
		return hint
	}
}

func reachFix(m pam.Machine, hint string) string {
	switch {
	case m.Authority() == pam.AuthorityDirectory:
		return both(hint, fixLDAPS)
	case !m.IsWindows():
		return both(hint, "on the machine: "+fixLinuxSSH)
	case m.Transport == pam.SSH:
		return both(hint, "on the machine: "+fixWinSSH)
	}
	return both(hint, "on the machine: "+fixWinRM+"; "+fixFirewall)
}

func both(hint, fix string) string { return strings.TrimPrefix(hint+"; "+fix, "; ") }
