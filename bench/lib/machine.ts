import { readFileSync, realpathSync } from 'node:fs'
import { createRequire } from 'node:module'
import { arch, availableParallelism, cpus, platform, release, totalmem } from 'node:os'
import { dirname, join } from 'node:path'

/** The machine of the figures: without it they mean nothing. */
export interface Machine {
  readonly processor: string
  readonly processors: number
  readonly memoryBytes: number
  /** Operating system, kernel and architecture. */
  readonly system: string
  /** "performance"; absent if the system does not report it, as in most virtual machines. */
  readonly cpuGovernor?: string
  /** Disk of the data folder; absent if the system does not report it. */
  readonly disk?: Disk
  /** Versions of Node.js, Millrace and LevelDB's package. */
  readonly versions: Readonly<Record<string, string>>
}

export interface Disk {
  /** "ext4". */
  readonly fileSystem: string
  /** Options of the file system, which may disable barriers: "rw,nobarrier". */
  readonly mountOptions: string
  /** "vda", with the model where there is one. */
  readonly device: string
  /** "write back": without a flush, data is in the cache of the disk. */
  readonly writeCache?: string
  readonly rotational?: boolean
}

/** @param dataFolder must exist; its disk is described if it is given */
export function describeMachine(dataFolder?: string): Machine {
  const cpuGovernor = readLine('/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor')
  const disk = dataFolder === undefined ? undefined : describeDisk(dataFolder)
  return {
    processor: cpus()[0]?.model ?? 'unknown',
    processors: availableParallelism(),
    memoryBytes: totalmem(),
    system: `${platform()} ${release()} ${arch()}`,
    ...(cpuGovernor === undefined ? {} : { cpuGovernor }),
    ...(disk === undefined ? {} : { disk }),
    versions: {
      node: process.versions.node,
      millrace: packageVersion('millrace'),
      level: packageVersion('level'),
    },
  }
}

/** Name and value of every known property, for humans. */
export function machineLines(machine: Machine): readonly (readonly [name: string, value: string])[] {
  const { processor, processors, memoryBytes, system, cpuGovernor, disk, versions } = machine
  return [
    [
      'processor',
      `${processors} x ${processor}${cpuGovernor === undefined ? '' : `, governor ${cpuGovernor}`}`,
    ],
    ['memory', `${(memoryBytes / 2 ** 30).toFixed(1)} GiB`],
    ['system', system],
    ...(disk === undefined ? [] : [['disk', diskLine(disk)] as const]),
    ['versions', versionsLine(versions)],
  ]
}

/** All known properties in one line. */
export function machineLine(machine: Machine): string {
  return machineLines(machine)
    .map(([, value]) => value)
    .join('; ')
}

/** "node 20.20.2, level 10.0.0" */
export function versionsLine(versions: Readonly<Record<string, string>>): string {
  return Object.entries(versions)
    .map(([name, version]) => `${name} ${version}`)
    .join(', ')
}

function diskLine({ fileSystem, mountOptions, device, writeCache, rotational }: Disk): string {
  return [
    `${fileSystem} (${mountOptions}) on ${device}`,
    ...(rotational === undefined ? [] : [rotational ? 'rotational' : 'not rotational']),
    ...(writeCache === undefined ? [] : [`write cache: ${writeCache}`]),
  ].join(', ')
}

/** Reads Linux's table of mounts: proc_pid_mountinfo(5). */
function describeDisk(folder: string): Disk | undefined {
  const table = readText('/proc/self/mountinfo')
  if (table === undefined) return undefined
  const path = realpathSync(folder)
  const isAbove = (mount: string): boolean => mount === '/' || path === mount || path.startsWith(`${mount}/`)
  const mounts = table
    .split('\n')
    .map((line) => line.split(' '))
    .filter(([, , , , mount]) => mount !== undefined && isAbove(mount))
  // Of mounts at one place the last is on top.
  const nearest = mounts.reduce<readonly string[]>(
    (best, fields) => ((fields[4] ?? '').length >= (best[4] ?? '').length ? fields : best),
    [],
  )
  const numbers = nearest[2]
  const [fileSystem, source, mountOptions] = nearest.slice(nearest.indexOf('-') + 1)
  if (fileSystem === undefined || mountOptions === undefined) return undefined
  return { fileSystem, mountOptions, ...describeDevice(numbers ?? '', source ?? fileSystem) }
}

/** @param numbers major:minor of the device; 0:n for what has none */
function describeDevice(numbers: string, source: string): Omit<Disk, 'fileSystem' | 'mountOptions'> {
  const name = source.replace(/^\/dev\//, '')
  const folder = realPath(`/sys/dev/block/${numbers}`)
  if (folder === undefined) return { device: name }
  // A partition has no queue: its disk is the folder above.
  const disk = readLine(join(folder, 'queue/rotational')) === undefined ? dirname(folder) : folder
  const rotational = readLine(join(disk, 'queue/rotational'))
  const model = readLine(join(disk, 'device/model'))
  const writeCache = readLine(join(disk, 'queue/write_cache'))
  return {
    device: model === undefined ? name : `${name} (${model})`,
    ...(rotational === undefined ? {} : { rotational: rotational === '1' }),
    ...(writeCache === undefined ? {} : { writeCache }),
  }
}

function realPath(path: string): string | undefined {
  try {
    return realpathSync(path)
  } catch {
    return undefined
  }
}

function readLine(path: string): string | undefined {
  const line = readText(path)?.trim()
  return line === '' ? undefined : line
}

/** Undefined if it cannot be read: systems differ in these files. */
function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}

function packageVersion(name: string): string {
  const path = createRequire(import.meta.url).resolve(`${name}/package.json`)
  const { version } = JSON.parse(readFileSync(path, 'utf8')) as { version: string }
  return version
}
