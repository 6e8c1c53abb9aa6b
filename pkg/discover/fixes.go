package discover

import (
	"errors"
	"strings"

	"keyturn/pkg/pam"
	"keyturn/pkg/powershell"
	"keyturn/pkg/remote"
)

// What helps on the machine itself; an administrator types it there. Each stands in
// docs/windows.md in the same words, with what there is to say about it.
const (
	// A local account that is not the built-in Administrator has a filtered token
	// over the network unless this is set.
	fixFilteredToken = `New-ItemProperty HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Policies\System ` +
		`-Name LocalAccountTokenFilterPolicy -Value 1 -PropertyType DWord -Force`
	fixLanguage = `allow the command by its digest ("keyturn help windows-command") in AppLocker or WDAC, or exempt the account`
	fixStorage  = `Set-ItemProperty HKLM:\SYSTEM\CurrentControlSet\Control\Lsa -Name DisableDomainCreds -Value 0`
	fixWinRM    = "Set-Service WinRM -StartupType Automatic; Start-Service WinRM"
	fixListener = `New-Item WSMan:\localhost\Listener -Transport HTTPS -Address * -CertificateThumbPrint $cert.Thumbprint -Force`
	fixFirewall = `New-NetFirewallRule -DisplayName 'Keyturn: WinRM over HTTPS' -Direction Inbound -Action Allow ` +
		`-Protocol TCP -LocalPort 5986 -RemoteAddress ADDRESS`
	fixNegotiate  = `Set-Item WSMan:\localhost\Service\Auth\Negotiate $true`
	fixCapability = "Add-WindowsCapability -Online -Name OpenSSH.Server~~~~0.0.1.0"
	fixWinSSH     = "Set-Service sshd -StartupType Automatic; Start-Service sshd"
	fixCluster    = "Stop-ClusterResource NAME; Start-ClusterResource NAME"
	fixLockout    = "net accounts /lockoutthreshold:10"
	fixAskLockout = "net accounts /domain"

	fixLDAPS    = "give the domain controller a certificate for server authentication: it then answers LDAPS at port 636"
	fixLinuxSSH = "systemctl enable --now sshd (ssh on Debian and Ubuntu)"
)

// fixFor is what helps when a check fails.
func fixFor(m pam.Machine, failed CheckName, err error) string {
	hint := pam.HintOf(err)
	switch failed {
	case CheckReach:
		return reachFix(m, hint, err)
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

func reachFix(m pam.Machine, hint string, err error) string {
	switch {
	case remote.UnknownName(err) != "": // nothing on the machine helps: nobody knows where it is
		return hint
	case m.Authority() == pam.AuthorityDirectory:
		return both(hint, fixLDAPS)
	case !m.IsWindows():
		return both(hint, "on the machine: "+fixLinuxSSH)
	case m.Transport == pam.SSH:
		return both(hint, "on the machine: "+fixCapability+"; "+fixWinSSH)
	}
	return both(hint, "on the machine: "+fixWinRM+"; "+fixListener+"; "+fixFirewall)
}

func both(hint, fix string) string { return strings.TrimPrefix(hint+"; "+fix, "; ") }
