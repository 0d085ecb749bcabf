import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Mutant } from './mutants.js'

export type Outcome = 'killed' | 'survived' | 'does not build'

export interface Trial {
  readonly outcome: Outcome
  readonly seconds: number
  /** The last lines of what the compiler or the tests printed. */
  readonly output: string
}

/** The repository: this file runs from dist/test/mutants. */
const root = fileURLToPath(new URL('../../../', import.meta.url))
const copied = [
  'broker',
  'cli',
  'client',
  'protocol',
  'storage',
  'test',
  'bench',
  'examples',
  'package.json',
  'tsconfig.json',
]
/** Mutants may leave names unused. */
const compilerArgs = ['-p', 'tsconfig.json', '--noUnusedLocals', 'false', '--noUnusedParameters', 'false']
const shownCharacters = 4_000

/** @throws Error naming each mutant whose text does not occur exactly once in its file */
export async function checkTexts(mutants: readonly Mutant[]): Promise<void> {
  const problems: string[] = []
  for (const { name, file, text } of mutants) {
    const source = await readFile(join(root, file), 'utf8').catch(() => undefined)
    if (source === undefined) problems.push(`${name}: there is no file ${file}`)
    else {
      const count = source.split(text).length - 1
      if (count !== 1) problems.push(`${name}: ${file} has this text ${count} times, expected once:\n${text}`)
    }
  }
  if (problems.length > 0)
    throw new Error(`mutants do not fit the sources; change test/mutants/mutants.ts\n${problems.join('\n')}`)
}

/** A copy of the sources in a temporary folder, in which one mutant at a time is tried. */
export class Workshop {
  readonly #dir: string
  #child: ChildProcess | undefined
  #closed = false

  private constructor(dir: string) {
    this.#dir = dir
  }

  /** Copies the sources and builds them. @throws Error when they do not build */
  static async open(): Promise<Workshop> {
    const workshop = new Workshop(await mkdtemp(join(tmpdir(), 'millrace-mutants-')))
    for (const name of copied) await cp(join(root, name), join(workshop.#dir, name), { recursive: true })
    await symlink(join(root, 'node_modules'), join(workshop.#dir, 'node_modules'))
    const { code, output } = await workshop.#build()
    if (code !== 0) throw new Error(`the sources do not build:\n${output}`)
    return workshop
  }

  /** Runs tests without a mutant. @throws Error when they fail: then they can't judge mutants */
  async checkTests(areas: readonly string[]): Promise<void> {
    const { code, output } = await this.#test(areas)
    if (code !== 0) throw new Error(`tests fail without any mutant:\n${output}`)
  }

  /** Plants a mutant, builds, runs its tests, and puts the source back. */
  async try({ file, text, replacement, areas }: Mutant): Promise<Trial> {
    const path = join(this.#dir, file)
    const source = await readFile(path, 'utf8')
    const startedAt = performance.now()
    const trial = (outcome: Outcome, output: string): Trial => ({
      outcome,
      seconds: (performance.now() - startedAt) / 1_000,
      output,
    })
    await writeFile(
      path,
      source.replace(text, () => replacement),
    )
    try {
      const built = await this.#build()
      if (built.code !== 0) return trial('does not build', built.output)
      const { code, output } = await this.#test(areas)
      return trial(code === 0 ? 'survived' : 'killed', output)
    } finally {
      await writeFile(path, source)
    }
  }

  /** Also ends what runs in it. */
  async close(): Promise<void> {
    this.#closed = true
    const child = this.#child
    if (child?.exitCode === null && child.kill()) await once(child, 'close')
    await rm(this.#dir, { recursive: true, force: true })
  }

  #build(): Promise<Finished> {
    return this.#run([join('node_modules', 'typescript', 'bin', 'tsc'), ...compilerArgs])
  }

  #test(areas: readonly string[]): Promise<Finished> {
    return this.#run([join('dist', 'test', 'run.js'), ...areas])
  }

  #run(args: readonly string[]): Promise<Finished> {
    if (this.#closed) return Promise.reject(new Error('interrupted'))
    const child = spawn(process.execPath, args, { cwd: this.#dir, stdio: ['ignore', 'pipe', 'pipe'] })
    this.#child = child
    let output = ''
    const take = (chunk: Buffer): void => {
      output = (output + chunk.toString()).slice(-shownCharacters)
    }
    child.stdout.on('data', take)
    child.stderr.on('data', take)
    return new Promise((resolve, reject) => {
      child.once('error', reject)
      child.once('close', (code) => resolve({ code, output }))
    })
  }
}

interface Finished {
  readonly code: number | null
  readonly output: string
}
