package commands

import "keyturn/commands/output"

const logInText = `How Keyturn logs in to a machine: the machine's record says where it is and how
it proves itself, its admin's record what to log in with. One credential is
tried, once.

Machine (pamMachine):
  pamHostname=HOST:PORT              5986 is WinRM over TLS, 22 is SSH
  c.text.transport=ssh               SSH to a Windows machine at another port;
                                     its default shell may be cmd, PowerShell or
                                     bash
  c.text.serverPin=sha256:...        WinRM: the certificate to accept,
  c.text.caFile=FILE                 or the authority that signed it
  c.text.hostKey='ssh-ed25519 ...'   SSH: the host key to accept

Admin (pamUser), the first of these that its record has:
  c.text.sshAgent=on                 SSH: the one key that the SSH agent of
                                     whoever runs Keyturn holds; with several
                                     keys its fingerprint (SHA256:...). No agent
                                     is asked otherwise.
  secret.privatePEMKey=@FILE         SSH: a private key (OpenSSH or PEM). A user
                                     certificate's line (KEY-cert.pub) may
                                     follow it. WinRM: a private key and its
                                     X.509 client certificate, both PEM, in one
                                     file. A key alone is for SSH, and WinRM
                                     takes the password.
  c.secret.passphrase=@FILE          SSH: the private key's passphrase
  password=                          both

Not taken: PuTTY keys (puttygen KEY -O private-openssh), a passphrase of PKCS#8
(ssh-keygen -p -f KEY), and any passphrase of a key for WinRM
(openssl pkey -in KEY).

A client certificate logs in to a member or stand-alone server as the local
account that Windows maps it to; a domain controller has none. On the server:
  winrm set winrm/config/service/auth @{Certificate="true"}
  New-Item WSMan:\localhost\ClientCertificate -Subject admin@localhost -URI * ` + "`" + `
    -Issuer THUMBPRINT -Credential (Get-Credential) -Force
With a key or a certificate, as with a password over WinRM, the logon on the
machine is a network logon: it reaches no further machine.`

// logInView explains what logs in to machines.
func logInView() output.View {
	return textView(logInText)
}
