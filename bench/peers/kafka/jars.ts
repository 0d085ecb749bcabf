import { existsSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Missing } from '../../lib/contender.js'
import { findProgram, programOutput } from '../lib/programs.js'

/** In the source tree: four folders above this file, compiled. */
export const pomPath = fileURLToPath(new URL('../../../../bench/peers/kafka/pom.xml', import.meta.url))

/** Kafka 4 needs it. */
const javaVersionMin = 17

/** The version of Kafka that pom.xml names. */
export function kafkaVersion(): string {
  const version = /<kafka\.version>([^<]+)</.exec(readFileSync(pomPath, 'utf8'))?.[1]
  if (version === undefined) throw new Error(`${pomPath} has no kafka.version`)
  return version
}

/** Where the jars of Kafka are kept between benches: MILLRACE_BENCH_KAFKA, or a folder of the user's cache. */
export function jarFolder(): string {
  const folder = process.env.MILLRACE_BENCH_KAFKA
  return folder ?? join(homedir(), '.cache', 'millrace-bench', `kafka-${kafkaVersion()}`)
}

/** What keeps Kafka from running here; undefined when nothing does. */
export async function missingKafka(): Promise<Missing | undefined> {
  const version = await javaVersion()
  const installJava = `apt-get install openjdk-${javaVersionMin}-jre-headless`
  if (version === undefined) return { reason: 'java is not installed', install: installJava }
  if (Number.parseInt(version, 10) < javaVersionMin)
    return { reason: `java ${version} is older than ${javaVersionMin}`, install: installJava }
  if (!existsSync(join(jarFolder(), `kafka-tools-${kafkaVersion()}.jar`)))
    return {
      reason: `Kafka ${kafkaVersion()} is not in ${jarFolder()}`,
      install: 'node dist/bench/peers/kafka/install.js (needs mvn; fetches 54 MB from Maven Central)',
    }
  return undefined
}

/** "17.0.15"; undefined when java isn't installed. */
export async function javaVersion(): Promise<string | undefined> {
  if ((await findProgram('java')) === undefined) return undefined
  return /version "([^"]+)"/.exec(await programOutput('java', ['-version']))?.[1]
}
