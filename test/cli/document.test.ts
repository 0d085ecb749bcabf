import { readFile } from 'node:fs/promises'
import type { Command } from 'commander'
import * as assert from 'uvu/assert'
import { createProgram } from '../../cli/program.js'
import { suite } from '../helpers/suite.js'

const test = suite('cli/document')

const document = new URL('../../../docs/cli.md', import.meta.url)
/** The document describes these once for all commands. */
const common = ['--server', '--context', '--json']

function* commandsOf(command: Command, path: readonly string[] = []): Generator<[string, Command]> {
  for (const one of command.createHelp().visibleCommands(command)) {
    if (one.name() === 'help') continue
    const name = [...path, one.name()]
    yield [name.join(' '), one]
    yield* commandsOf(one, name)
  }
}

test('docs/cli.md has a section for each command, with all of its options and no others', async () => {
  const sections = new Map(
    (await readFile(document, 'utf8')).split(/^### millrace /m).map((text) => {
      const end = text.indexOf('\n')
      return [text.slice(0, end), text.slice(end)]
    }),
  )
  const commands = [...commandsOf(createProgram())]
  assert.ok(commands.length > 30)
  for (const [name, command] of commands) {
    const section = sections.get(name)
    assert.ok(section !== undefined, `docs/cli.md has no section "### millrace ${name}"`)
    const described = [...section.matchAll(/^\| `([^`]+)` \|/gm)].map(([, flags]) => flags)
    const flags = command.options.filter(({ long }) => !common.includes(long ?? '')).map((one) => one.flags)
    assert.equal(described, flags, `the options of "millrace ${name}" in docs/cli.md`)
  }
})

test.run()
