import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { arch, availableParallelism, cpus, platform, release, totalmem } from 'node:os'

/** Where figures were measured: without it they mean nothing. */
export interface Machine {
  readonly processor: string
  readonly processors: number
  readonly memoryBytes: number
  readonly system: string
  /** Versions of Node.js, Millrace and LevelDB's package. */
  readonly versions: Readonly<Record<string, string>>
}

export function describeMachine(): Machine {
  return {
    processor: cpus()[0]?.model ?? 'unknown',
    processors: availableParallelism(),
    memoryBytes: totalmem(),
    system: `${platform()} ${release()} ${arch()}`,
    versions: {
      node: process.versions.node,
      millrace: packageVersion('millrace'),
      level: packageVersion('level'),
    },
  }
}

export function machineLine({ processor, processors, memoryBytes, system, versions }: Machine): string {
  const memory = `${(memoryBytes / 2 ** 30).toFixed(0)} GiB`
  const packages = Object.entries(versions).map(([name, version]) => `${name} ${version}`)
  return `${processors} x ${processor}, ${memory}, ${system}; ${packages.join(', ')}`
}

function packageVersion(name: string): string {
  const path = createRequire(import.meta.url).resolve(`${name}/package.json`)
  const { version } = JSON.parse(readFileSync(path, 'utf8')) as { version: string }
  return version
}
