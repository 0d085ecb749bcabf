import { readFile } from 'node:fs/promises'
import type { TestContext } from '../../helpers/context.js'

/** Memory of a process as the kernel counts it. */
export interface Memory {
  /** All of it. */
  readonly rssBytes: number
  /** Without the pages of files, which the kernel takes back when it needs memory. */
  readonly anonBytes: number
}

const everyMs = 50

/** @throws the system's error if there is no such process */
export async function memoryOf(pid: number): Promise<Memory> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  const bytes = (name: string): number =>
    Number(new RegExp(`^${name}:\\s*(\\d+) kB$`, 'm').exec(status)?.[1] ?? Number.NaN) * 1024
  return { rssBytes: bytes('VmRSS'), anonBytes: bytes('RssAnon') }
}

/** Reads the memory of a process twenty times a second and keeps the maximum. */
export class MemoryWatch {
  readonly #pid: number
  readonly #timer: NodeJS.Timeout
  #peak: Memory = { rssBytes: 0, anonBytes: 0 }

  constructor(context: TestContext, pid: number) {
    this.#pid = pid
    this.#timer = setInterval(() => void this.#look(), everyMs)
    context.defer(() => clearInterval(this.#timer))
  }

  /** The maximum since the start or since `reset`. */
  get peak(): Memory {
    return this.#peak
  }

  reset(): void {
    this.#peak = { rssBytes: 0, anonBytes: 0 }
  }

  async #look(): Promise<void> {
    const { rssBytes, anonBytes } = await memoryOf(this.#pid).catch(() => this.#peak)
    this.#peak = {
      rssBytes: Math.max(this.#peak.rssBytes, rssBytes),
      anonBytes: Math.max(this.#peak.anonBytes, anonBytes),
    }
  }
}
