package commands

import "keyturn/commands/output"

const keysText = `A vault opens with any one of its keys. "keyturn key list" shows them, "key add"
and "key remove" change them; "keyturn help key add" says what kinds there are.

A command takes the first of these that there is:
  1. what its command line names: --key-file FILE, --identity FILE or
     --password-file FILE. It was said for this command, so nothing else is
     tried.
  2. the agent that "keyturn login" started: it holds the key already.
  3. what the environment names: ` + EnvKeyFile + `, ` + EnvIdentity + `,
     ` + EnvPasswordFile + `, in this order: the cheaper one first.
  4. this computer's keyring, if the vault has a key there ("key add
     --keyring"). It is asked last of all that needs no person, so that a
     pipeline that names its key never waits for a desktop.
  5. the master password or a recovery code, typed on the terminal.
A key that is named and does not open the vault is an error (exit code 4): no
other one is tried in its place. Only a keyring that cannot be asked leads to
the question.

The keyring opens the vault for every program that runs as you while it is
unlocked, and after "keyturn logout" too. An age identity may be a plugin's:
age-plugin-NAME must be on the PATH, and may ask on the terminal.`

// keysView explains which key opens the vault.
func keysView() output.View {
	return textView(keysText)
}
