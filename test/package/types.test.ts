import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import * as assert from 'uvu/assert'
import { spawnProcess } from '../helpers/spawn.js'
import { suite, type TestContext } from '../helpers/suite.js'

const test = suite('package/types')

const root = fileURLToPath(new URL('../../../', import.meta.url))
/** The compiler of the project no longer supports `node10`: this names the folder of a TypeScript 5. */
const typescript5 = process.env.MILLRACE_TEST_TYPESCRIPT_5 ?? join(root, 'node_modules/typescript-5')

const program = `
import { connect, defineTopic, json, type Client, type Message } from 'millrace'
import { startBroker } from 'millrace/broker'
import { limits } from 'millrace/protocol'

const orders = defineTopic('orders', { value: json<{ item: string }>() })
const itemOf = (message: Message<{ item: string }, string>): string => message.value.item

async function main(): Promise<void> {
  const broker = await startBroker({ engine: 'memory', port: 0, logLevel: 'silent' })
  const client: Client = await connect('127.0.0.1:' + broker.address.port)
  await client.topics.ensure('orders', { partitions: 2 })
  await client.publish(orders, { value: { item: 'lamp' } })
  for await (const message of client.consume(orders, { from: 'earliest', until: 'end' })) {
    const item: string = itemOf(message)
    console.log(item, limits.recordHeadersMax)
  }
  // @ts-expect-error the types of the package are there: orders have an item
  await client.publish(orders, { value: { itm: 'lamp' } }).catch(() => {})
  await client.close()
  await broker.close()
}
main()
`

async function run(
  context: TestContext,
  cwd: string,
  command: string,
  args: readonly string[],
): Promise<string> {
  const { exited, output } = spawnProcess(context, command, args, { cwd })
  const { code } = await exited
  assert.is(code, 0, `${command} ${args.join(' ')}: ${output.stdout}${output.stderr}`)
  return output.stdout
}

/** A folder with the installed package; its dependencies are those of this project. */
async function install(context: TestContext): Promise<string> {
  const folder = await context.tempDir()
  await run(context, root, process.execPath, ['scripts/commonjs_types.mjs'])
  const packed = await run(context, root, 'npm', [
    'pack',
    '--silent',
    '--ignore-scripts',
    '--pack-destination',
    folder,
  ])
  const target = join(folder, 'node_modules/millrace')
  await mkdir(target, { recursive: true })
  await run(context, folder, 'tar', ['-xzf', packed.trim(), '-C', target, '--strip-components=1'])
  const { dependencies } = JSON.parse(await readFile(join(target, 'package.json'), 'utf8')) as {
    dependencies: Record<string, string>
  }
  for (const name of [...Object.keys(dependencies), '@types/node']) {
    const link = join(folder, 'node_modules', name)
    await mkdir(join(link, '..'), { recursive: true })
    await symlink(join(root, 'node_modules', name), link)
  }
  return folder
}

interface Case {
  readonly module: string
  readonly moduleResolution: string
  readonly type: 'commonjs' | 'module'
  /** Folder of the compiler. */
  readonly typescript?: string
}

/** Compiles the program, with the declarations of the package checked too, and runs it. */
async function compileAndRun(
  context: TestContext,
  folder: string,
  { module, moduleResolution, type, typescript = join(root, 'node_modules/typescript') }: Case,
): Promise<void> {
  const name = `${module}-${moduleResolution}-${type}`
  const cwd = join(folder, name)
  await mkdir(cwd)
  await writeFile(join(cwd, 'package.json'), JSON.stringify({ type }))
  await writeFile(join(cwd, 'main.ts'), program)
  const compilerOptions = {
    target: 'es2023',
    lib: ['es2023', 'esnext.disposable'],
    types: ['node'],
    strict: true,
    skipLibCheck: false,
    esModuleInterop: true,
    module,
    moduleResolution,
  }
  await writeFile(join(cwd, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['main.ts'] }))
  await run(context, cwd, process.execPath, [join(typescript, 'lib/tsc.js'), '-p', '.'])
  const emitted = await readFile(join(cwd, 'main.js'), 'utf8')
  assert.is(/require\(/.test(emitted), type === 'commonjs', `${name} is of the other kind`)
  assert.match(await run(context, cwd, process.execPath, ['main.js']), /^lamp 256$/m)
}

const options = { deadlineMs: 120_000 }

test(
  'the packed package compiles and runs in ES modules and CommonJS',
  async (context) => {
    const folder = await install(context)
    for (const one of [
      { module: 'node16', moduleResolution: 'node16', type: 'commonjs' },
      { module: 'node16', moduleResolution: 'node16', type: 'module' },
      { module: 'nodenext', moduleResolution: 'nodenext', type: 'commonjs' },
      { module: 'nodenext', moduleResolution: 'nodenext', type: 'module' },
      { module: 'esnext', moduleResolution: 'bundler', type: 'module' },
    ] as const)
      await compileAndRun(context, folder, one)
  },
  options,
)

test(
  'the packed package compiles and runs with moduleResolution node10',
  async (context) => {
    if (!existsSync(join(typescript5, 'lib/tsc.js')))
      context.skip('needs TypeScript 5; set MILLRACE_TEST_TYPESCRIPT_5 to the folder of its package')
    const folder = await install(context)
    const typescript = typescript5
    await compileAndRun(context, folder, {
      module: 'commonjs',
      moduleResolution: 'node10',
      type: 'commonjs',
      typescript,
    })
    await compileAndRun(context, folder, {
      module: 'node16',
      moduleResolution: 'node16',
      type: 'commonjs',
      typescript,
    })
  },
  options,
)

test('each entry of the package has declarations for both kinds of module', async (context) => {
  const folder = await install(context)
  const target = join(folder, 'node_modules/millrace')
  const { exports, typesVersions } = JSON.parse(await readFile(join(target, 'package.json'), 'utf8')) as {
    exports: Record<string, string | Record<'import' | 'require', { types: string; default: string }>>
    typesVersions: Record<'*', Record<string, readonly string[]>>
  }
  const paths = Object.values(typesVersions['*']).flat()
  for (const entry of Object.values(exports))
    if (typeof entry !== 'string')
      for (const { types, default: code } of Object.values(entry)) paths.push(types, code)
  assert.is(paths.length, 14)
  for (const path of paths) assert.ok(existsSync(join(target, path)), path)
  assert.ok((await readdir(join(target, 'dist/commonjs'))).includes('package.json'))
})

test.run()
