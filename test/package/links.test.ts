import { existsSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import * as assert from 'uvu/assert'
import { spawnProcess } from '../helpers/spawn.js'
import { suite, type TestContext } from '../helpers/suite.js'

const test = suite('package/links')

const root = fileURLToPath(new URL('../../../', import.meta.url))

async function run(context: TestContext, cwd: string, command: string, args: string[]): Promise<string> {
  const { exited, output } = spawnProcess(context, command, args, { cwd })
  const { code } = await exited
  assert.is(code, 0, `${command} ${args.join(' ')}: ${output.stdout}${output.stderr}`)
  return output.stdout
}

/** The folder of the unpacked package. */
async function unpack(context: TestContext): Promise<string> {
  const folder = await context.tempDir()
  const args = ['pack', '--silent', '--ignore-scripts', '--pack-destination', folder]
  const packed = await run(context, root, 'npm', args)
  await run(context, folder, 'tar', ['-xzf', packed.trim()])
  return join(folder, 'package')
}

interface Link {
  readonly text: string
  readonly target: string
}

/** The links and images of a Markdown text, without those of code. */
function linksOf(markdown: string): Link[] {
  const text = markdown.replaceAll(/^(```|~~~)[\s\S]*?^\1/gm, '').replaceAll(/`[^`\n]*`/g, 'code')
  return [...text.matchAll(/\[([^\]]*)\]\(\s*<?([^)>\s]+)>?[^)]*\)/g)].map(([, name = '', target = '']) => ({
    text: name,
    target,
  }))
}

/** The anchors that GitHub and npm make of the headings of a Markdown text. */
function anchorsOf(markdown: string): Set<string> {
  const text = markdown.replaceAll(/^(```|~~~)[\s\S]*?^\1/gm, '')
  const anchors = new Set<string>()
  for (const [, heading = ''] of text.matchAll(/^#{1,6} +(.+)$/gm)) {
    const words = heading.toLowerCase().replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
    const anchor = words.trim().replaceAll(/\s/g, '-')
    let name = anchor
    for (let n = 1; anchors.has(name); n++) name = `${anchor}-${n}`
    anchors.add(name)
  }
  return anchors
}

/** Why a link of a file does not lead anywhere; undefined when it does. */
async function problemOf(folder: string, file: string, { target }: Link): Promise<string | undefined> {
  if (/^[a-z]+:/i.test(target)) return undefined
  const [path = '', anchor] = target.split('#')
  const linked = path === '' ? file : join(dirname(file), decodeURI(path))
  if (relative(folder, linked).startsWith('..')) return 'leads out of the package'
  if (!existsSync(linked)) return 'is not in the package'
  if (anchor === undefined || anchor === '') return undefined
  return anchorsOf(await readFile(linked, 'utf8')).has(anchor) ? undefined : 'names no heading'
}

test('finds links, and the anchors of headings', () => {
  assert.equal(linksOf('see [a](b.md#c), `[no](code)` and ![d](<e.png> "title")\n```\n[no](fence)\n```\n'), [
    { text: 'a', target: 'b.md#c' },
    { text: 'd', target: 'e.png' },
  ])
  assert.equal([...anchorsOf('# One\n## `queue.open`, 50\n## One\n')], ['one', 'queueopen-50', 'one-1'])
})

test(
  'each link of each document of the packed package leads to a file in it',
  async (context) => {
    const folder = await unpack(context)
    const files = (await readdir(folder, { recursive: true })).filter((name) => name.endsWith('.md'))
    assert.ok(files.includes('README.md'))
    const problems: string[] = []
    let links = 0
    for (const file of files)
      for (const link of linksOf(await readFile(join(folder, file), 'utf8'))) {
        links++
        const problem = await problemOf(folder, join(folder, file), link)
        if (problem !== undefined) problems.push(`${file}: ${link.target} ${problem}`)
      }
    assert.equal(problems, [])
    assert.ok(links > 20, `${links} links`)
  },
  { deadlineMs: 60_000 },
)

test.run()
