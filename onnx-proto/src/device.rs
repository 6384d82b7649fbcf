//! Running one model on several devices.

use prost::{Message, Oneof};

/// A set of devices that a model is prepared for.
#[derive(Clone, PartialEq, Message)]
pub struct DeviceConfigurationProto {
    /// The name, which [`NodeDeviceConfigurationProto::configuration_id`] refers to.
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    /// How many devices there are.
    #[prost(int32, optional, tag = "2")]
    pub num_devices: Option<i32>,
    /// Names of the devices: none, or one for each.
    #[prost(string, repeated, tag = "3")]
    pub device: Vec<String>,
}

/// How a node runs under one device configuration.
#[derive(Clone, PartialEq, Message)]
pub struct NodeDeviceConfigurationProto {
    /// The name of the [`DeviceConfigurationProto`].
    #[prost(string, optional, tag = "1")]
    pub configuration_id: Option<String>,
    /// How the node's inputs and outputs are split.
    #[prost(message, repeated, tag = "2")]
    pub sharding_spec: Vec<ShardingSpecProto>,
    /// The stage of the pipeline that the node belongs to.
    #[prost(int32, optional, tag = "3")]
    pub pipeline_stage: Option<i32>,
}

/// How one input or output of a node is split over devices.
#[derive(Clone, PartialEq, Message)]
pub struct ShardingSpecProto {
    /// The name of the input or output.
    #[prost(string, optional, tag = "1")]
    pub tensor_name: Option<String>,
    /// The devices, or keys of `index_to_device_group_map`, in the order of the parts.
    #[prost(int64, repeated, packed = "false", tag = "2")]
    pub device: Vec<i64>,
    /// Groups of devices that hold the same part.
    #[prost(message, repeated, tag = "3")]
    pub index_to_device_group_map: Vec<IntIntListEntryProto>,
    /// How the axes are split.
    #[prost(message, repeated, tag = "4")]
    pub sharded_dim: Vec<ShardedDimProto>,
}

/// An integer key and a list of integers.
#[derive(Clone, PartialEq, Message)]
pub struct IntIntListEntryProto {
    /// The key.
    #[prost(int64, optional, tag = "1")]
    pub key: Option<i64>,
    /// The list.
    #[prost(int64, repeated, packed = "false", tag = "2")]
    pub value: Vec<i64>,
}

/// How one axis is split.
#[derive(Clone, PartialEq, Message)]
pub struct ShardedDimProto {
    /// The axis; negative counts from the end.
    #[prost(int64, optional, tag = "1")]
    pub axis: Option<i64>,
    /// The split; several entries when the axis joins several split axes.
    #[prost(message, repeated, tag = "2")]
    pub simple_sharding: Vec<SimpleShardedDimProto>,
}

/// An axis of some size split into parts.
#[derive(Clone, PartialEq, Message)]
pub struct SimpleShardedDimProto {
    /// The size of the axis.
    #[prost(oneof = "ShardedDimValue", tags = "1, 2")]
    pub dim: Option<ShardedDimValue>,
    /// The number of parts.
    #[prost(int64, optional, tag = "3")]
    pub num_shards: Option<i64>,
}

/// The size of a split axis.
#[derive(Clone, PartialEq, Oneof)]
pub enum ShardedDimValue {
    /// A number of elements.
    #[prost(int64, tag = "1")]
    DimValue(i64),
    /// A name for a size known when the model runs.
    #[prost(string, tag = "2")]
    DimParam(String),
}
