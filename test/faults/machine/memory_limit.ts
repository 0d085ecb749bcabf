import { existsSync } from 'node:fs'
import { mkdir, readFile, rmdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { TestContext } from '../../helpers/context.js'
import { type Command, runAtExit } from './command.js'
import { checkOnce, linuxRoot, trial, type Unavailable } from './requirements.js'

const root = '/sys/fs/cgroup/memory'
let groups = 0

/**
 * A memory limit like that of a container: above it the kernel first drops page cache and then kills (SIGKILL).
 * Swap counts as well. The page cache of files that the processes write counts, so a full counter alone means nothing.
 * cgroup v1 only.
 */
export class MemoryLimit {
  readonly #folder: string

  private constructor(folder: string) {
    this.#folder = folder
  }

  /** @param limitBytes rounded down to whole pages by the kernel */
  static async create(context: TestContext, limitBytes: number): Promise<MemoryLimit> {
    const folder = join(root, `millrace-${process.pid}-${groups++}`)
    await mkdir(folder)
    const limit = new MemoryLimit(folder)
    const withdraw = runAtExit(['rmdir', folder])
    context.defer(async () => {
      await limit.#release()
      withdraw()
    })
    await writeFile(join(folder, 'memory.limit_in_bytes'), `${limitBytes}`)
    const withSwap = join(folder, 'memory.memsw.limit_in_bytes')
    if (existsSync(withSwap)) await writeFile(withSwap, `${limitBytes}`)
    return limit
  }

  /** Puts a running process under the limit. Its present memory does not count, only later allocations. */
  async add(pid: number): Promise<void> {
    await writeFile(join(this.#folder, 'cgroup.procs'), `${pid}`)
  }

  /** The command that starts a program under the limit from its first page; it keeps the process's id. */
  command(program: string, args: readonly string[]): Command {
    const enter = `echo $$ > '${this.#folder}/cgroup.procs' && exec "$@"`
    return ['sh', '-c', enter, 'sh', program, ...args]
  }

  /** Processes that the kernel has killed for lack of memory. */
  async oomKills(): Promise<number> {
    const text = await readFile(join(this.#folder, 'memory.oom_control'), 'latin1')
    return Number(/^oom_kill (\d+)$/m.exec(text)?.[1] ?? 0)
  }

  /** Bytes in use now, page cache included. */
  async usedBytes(): Promise<number> {
    return Number(await readFile(join(this.#folder, 'memory.usage_in_bytes'), 'latin1'))
  }

  /** Running processes go back to the root group. */
  async #release(): Promise<void> {
    const pids = (await readFile(join(this.#folder, 'cgroup.procs'), 'latin1')).split('\n').filter(Boolean)
    for (const pid of pids) await writeFile(join(root, 'cgroup.procs'), pid).catch(() => {})
    await rmdir(this.#folder)
  }
}

/** The reason why memory cannot be limited here. */
export const memoryLimitUnavailable: Unavailable = checkOnce(
  linuxRoot,
  async () =>
    existsSync(join(root, 'memory.limit_in_bytes'))
      ? undefined
      : `needs the memory controller of cgroup v1 at ${root}`,
  trial('a memory limit', (context) => MemoryLimit.create(context, 64 * 1024 * 1024)),
)
