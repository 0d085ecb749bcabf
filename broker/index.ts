export {
  type BackupManifest,
  checkFolder,
  type FolderProblem,
  makeEmptyFolder,
  type RepairOptions,
  repairFolder,
  restoreBackup,
  verifyBackup,
  writeBackup,
} from '../storage/index.js'
export { type Broker, type BrokerOptions, startBroker } from './broker.js'
export { type BrokerSettings, type ConfigSources, configSchema, envName, loadConfig } from './config.js'
export type { Setting } from './config_values.js'
export { letHeapGrow } from './heap.js'
export type { Logger } from './log.js'
export type { BrokerStatus } from './status.js'
export { verifyRecords } from './verify.js'
export { brokerVersion } from './version.js'
