import { execFile } from 'node:child_process'
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import * as assert from 'uvu/assert'
import { isMillraceError } from '../../protocol/index.js'
import { loadLz4 } from '../../protocol/lz4.js'
import { suite, type TestContext } from '../helpers/suite.js'

const test = suite('protocol/lz4')

const here = import.meta.url
const built = fileURLToPath(new URL('../../protocol/', here))

test('the codec comes from the first place that has it', async (context) => {
  const nowhere = join(await context.tempDir(), 'bundle.cjs')
  const codec = loadLz4([undefined, nowhere, here])
  const bytes = Buffer.from('lz4 '.repeat(100))
  assert.equal(codec.uncompressSync(codec.compressSync(bytes)), bytes)
})

test('a missing codec is an error that names the package and the ways out', async (context) => {
  const nowhere = join(await context.tempDir(), 'bundle.cjs')
  for (const places of [[nowhere, undefined], [undefined]]) {
    try {
      loadLz4(places)
      assert.unreachable('it was loaded')
    } catch (error) {
      assert.ok(isMillraceError(error, 'CODEC_MISSING'))
      assert.match(error.message, /needs the package "lz4-napi".*beside the bundle.*--external:millrace/)
    }
  }
})

/**
 * The compression code as a bundler writes it to CommonJS: modules become `require`, and `import.meta` is empty.
 * @returns the path of a program that compresses and decompresses with lz4
 */
async function bundled(context: TestContext, hasCodec: boolean): Promise<string> {
  const dir = await context.tempDir()
  for (const name of ['compression', 'lz4', 'errors', 'limits']) {
    const text = await readFile(join(built, `${name}.js`), 'utf8')
    const exported = [...text.matchAll(/^export (?:const|function|class) (\w+)/gm)].map(([, one]) => one)
    const commonJs = text
      .replaceAll(/^import (\{[^}]*\}) from '([^']+)\.js';?$/gm, "const $1 = require('$2.cjs')")
      .replaceAll(/^import (\{[^}]*\}) from '(node:[^']+)';?$/gm, "const $1 = require('$2')")
      .replaceAll(/^export /gm, '')
      .replaceAll('import.meta', '({})')
    await writeFile(join(dir, `${name}.cjs`), `${commonJs}\nmodule.exports = { ${exported.join(', ')} }\n`)
  }
  const program = `
    const { compress, decompress } = require('./compression.cjs')
    const bytes = Buffer.from('lz4 '.repeat(100))
    try {
      process.stdout.write(String(bytes.equals(decompress(2, compress('lz4', bytes), bytes.length))))
    } catch (error) {
      process.stdout.write(error.code)
    }`
  await writeFile(join(dir, 'program.cjs'), program)
  if (hasCodec) {
    const modules = join(fileURLToPath(new URL('../../../', here)), 'node_modules')
    await mkdir(join(dir, 'node_modules'))
    for (const name of ['lz4-napi', '@antoniomuso'])
      await cp(join(modules, name), join(dir, 'node_modules', name), { recursive: true })
  }
  return join(dir, 'program.cjs')
}

test('lz4 loads in a CommonJS bundle if the package is installed beside it', async (context) => {
  const { stdout } = await promisify(execFile)(process.execPath, [await bundled(context, true)])
  assert.is(stdout, 'true')
})

test('a CommonJS bundle without the package says that it is missing', async (context) => {
  const { stdout } = await promisify(execFile)(process.execPath, [await bundled(context, false)])
  assert.is(stdout, 'CODEC_MISSING')
})

test.run()
