"""Runs pywinrm against a practice machine: URL, transport and wrong password or not."""
import json
import sys

import winrm
from winrm.exceptions import InvalidCredentialsError
from winrm.protocol import Protocol

url, transport, user = sys.argv[1:4]
password = sys.stdin.read()


def session(secret):
    return Protocol(endpoint=url, transport=transport, username=user, password=secret,
                    server_cert_validation='ignore', read_timeout_sec=10, operation_timeout_sec=1)


def run(p, shell, command, args=()):
    cid = p.run_command(shell, command, args)
    out, err, rc = p.get_command_output(shell, cid)
    p.cleanup_command(shell, cid)
    return [out.decode(), err.decode(), rc]


p = session(password)
shell = p.open_shell()
answers = {
    'echo': run(p, shell, 'echo', ['hi', 'there']),
    'stderr': run(p, shell, 'warn', ['careful']),
    'exit': run(p, shell, 'exit', ['42']),
    'long': run(p, shell, 'sleep', ['2500ms']),
}
p.close_shell(shell)
try:
    session('wrong').open_shell()
    answers['wrong'] = 'accepted'
except InvalidCredentialsError:
    answers['wrong'] = 'refused'
answers['version'] = getattr(winrm, '__version__', '')
print(json.dumps(answers))
