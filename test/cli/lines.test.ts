import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import * as assert from 'uvu/assert'
import { lines, openInput } from '../../cli/lines.js'
import { Random } from '../helpers/random.js'
import { suite } from '../helpers/suite.js'

const test = suite('cli/lines')

async function* inChunks(bytes: Uint8Array, chunkBytes: () => number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; ) {
    const end = at + chunkBytes()
    yield bytes.subarray(at, end)
    at = end
  }
}

async function collect(input: AsyncIterable<Uint8Array>): Promise<string[]> {
  const found: string[] = []
  for await (const line of lines(input)) found.push(line.toString('utf8'))
  return found
}

const cut = (text: string): Promise<string[]> => collect(inChunks(Buffer.from(text), () => 3))

test('splits at LF and CR LF, keeps empty lines and a last line without an end', async () => {
  assert.equal(await cut('a\nbcd\r\n\n\r\nlast'), ['a', 'bcd', '', '', 'last'])
  assert.equal(await cut('a\n'), ['a'])
  assert.equal(await cut('\n'), [''])
  assert.equal(await cut(''), [])
  assert.equal(await cut('a\rb\n'), ['a\rb'], 'a CR alone ends no line')
})

test('finds the same lines however the input is cut', async (context) => {
  for (const random of [new Random(7), context.random()]) {
    for (let n = 0; n < 200; n++) {
      const wanted = Array.from({ length: random.int(1, 30) }, () => 'é水x'.repeat(random.int(0, 20)))
      const bytes = Buffer.from(`${wanted.join(random.chance(0.5) ? '\n' : '\r\n')}\n`)
      assert.equal(await collect(inChunks(bytes, () => random.int(1, 40))), wanted)
    }
  }
})

test('refuses a line without an end before it has all of it in memory', async () => {
  let given = 0
  async function* endless(): AsyncGenerator<Uint8Array> {
    yield Buffer.from('first\n')
    for (;;) {
      given += 1024 * 1024
      yield Buffer.alloc(1024 * 1024, 'x')
    }
  }
  const found: string[] = []
  try {
    for await (const line of lines(endless())) found.push(line.toString())
    assert.unreachable()
  } catch (error) {
    assert.match((error as Error).message, 'line 2 has more than 16 MiB')
  }
  assert.equal(found, ['first'])
  assert.is(given, 17 * 1024 * 1024)
})

test('decompresses .gz files, and fails for a damaged one', async ({ tempDir }) => {
  const folder = await tempDir()
  await writeFile(join(folder, 'good.gz'), gzipSync('a\nb'))
  assert.equal(await collect(openInput(join(folder, 'good.gz'))), ['a', 'b'])
  await writeFile(join(folder, 'bad.gz'), 'plain text')
  for (const [file, message] of [
    ['bad.gz', /incorrect header check/],
    ['absent.gz', /ENOENT/],
  ] as const) {
    let problem = ''
    await collect(openInput(join(folder, file))).catch((error: Error) => {
      problem = error.message
    })
    assert.match(problem, message)
  }
})

test.run()
